// What makes the pages quicker; each of them works without it.
"use strict";

const PAUSE_MS = 180;
const REFRESH_MS = 5000;

/** Ask for a part of a page; null where it is not to be shown. */
async function fragment(url, signal) {
  const answer = await fetch(url, { headers: { Accept: "text/html" }, signal });
  if (answer.redirected) {
    location.reload(); // the session has ended
    return null;
  }
  const text = await answer.text();
  if (answer.ok) return text;
  const error = new DOMParser().parseFromString(text, "text/html").querySelector("main");
  return error ? error.innerHTML : null;
}

/** Search as one types: the newest question wins, and the address can be kept or sent. */
function searchLive(form) {
  const results = document.getElementById(form.dataset.into);
  let asking = null;
  let pause = 0;

  async function ask() {
    if (asking) asking.abort();
    asking = new AbortController();
    const filled = [...new FormData(form)].filter(([, value]) => value !== "");
    const query = new URLSearchParams(filled).toString();
    results.setAttribute("aria-busy", "true");
    try {
      const found = await fragment(`${form.dataset.live}?${query}`, asking.signal);
      if (found !== null) results.innerHTML = found;
      history.replaceState(null, "", query ? `${form.getAttribute("action")}?${query}` : form.getAttribute("action"));
      results.setAttribute("aria-busy", "false");
    } catch (error) {
      if (error.name !== "AbortError") form.submit(); // the server's own answer says what is wrong
    }
  }

  form.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(ask, PAUSE_MS);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(pause);
    ask();
  });
}

/** Load the inside of a <details> when it is opened first. */
function openLate(details) {
  details.addEventListener(
    "toggle",
    async () => {
      const found = await fragment(details.dataset.fragment);
      if (found !== null) details.querySelector(".fragment").innerHTML = found;
    },
    { once: true },
  );
}

/** Fill a part of the page that takes longer than the rest of it. */
async function fillLater(part) {
  try {
    const found = await fragment(part.dataset.later);
    if (found !== null) part.innerHTML = found;
  } catch (error) {
    console.info("not filled:", error.message);
  }
}

/** Keep a part of the page up to date while somebody looks at it. */
function refresh(part) {
  setInterval(async () => {
    if (document.hidden || part.contains(document.activeElement)) return;
    try {
      const found = await fragment(part.dataset.refresh);
      if (found !== null) {
        part.innerHTML = found;
        inLocalTime(part);
      }
    } catch (error) {
      console.info("not refreshed:", error.message);
    }
  }, REFRESH_MS);
}

/** Moments in the reader's own time zone, the precise one at hand. */
function inLocalTime(part) {
  for (const time of part.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    const isToday = moment.toDateString() === new Date().toDateString();
    time.title = time.textContent;
    time.textContent = isToday
      ? moment.toLocaleTimeString([], { timeStyle: "medium" })
      : moment.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  }
}

for (const form of document.querySelectorAll("form[data-live]")) searchLive(form);
for (const details of document.querySelectorAll("details[data-fragment]")) openLate(details);
for (const part of document.querySelectorAll("[data-later]")) fillLater(part);
for (const part of document.querySelectorAll("[data-refresh]")) refresh(part);
inLocalTime(document);

// A picture that there is none of leaves its place to the modality behind it.
document.addEventListener("error", (event) => {
  if (event.target.matches?.(".picture img")) event.target.remove();
}, true);
for (const image of document.querySelectorAll(".picture img")) {
  if (image.complete && !image.naturalWidth) image.remove();  // it failed before this was listened for
}

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

// "/" goes to the search, as on many pages.
document.addEventListener("keydown", (event) => {
  const field = document.querySelector(`[data-shortcut="${CSS.escape(event.key)}"]`);
  if (!field || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) return;
  event.preventDefault();
  field.focus();
  field.select();
});
