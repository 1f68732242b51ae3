"""What the DIMSE listener counts; summed over processes where PROMETHEUS_MULTIPROC_DIR is set."""

from __future__ import annotations

from services.common.counts import Counter, Gauge, Histogram

ASSOCIATIONS = Counter(
    "gantry_dimse_associations_total", "Associations that came in, by how they ended.", ["ending"]
)
OPEN_ASSOCIATIONS = Gauge(
    "gantry_dimse_open_associations",
    "Associations that are established now.",
    multiprocess_mode="livesum",
)
ASSOCIATION_SECONDS = Histogram(
    "gantry_dimse_association_duration_seconds",
    "From the association request to its end.",
    buckets=(0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200),
)
STORES = Counter("gantry_dimse_stores_total", "C-STORE requests answered, by status (hex).", ["status"])
STORED_BYTES = Counter("gantry_dimse_received_bytes_total", "Data set bytes received by C-STORE.")
STORE_SECONDS = Histogram(
    "gantry_dimse_store_duration_seconds",
    "From a C-STORE request to its response.",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120),
)
OPERATIONS = Counter(
    "gantry_dimse_operations_total",
    "Requests other than C-STORE that were answered, by kind and final status (hex).",
    ["operation", "status"],
)
REFUSED_CONNECTIONS = Counter(
    "gantry_dimse_pushed_out_total",
    "Connections closed before they asked for an association, to make room for newer ones.",
)
BUFFER_BYTES = Gauge(
    "gantry_dimse_buffer_bytes",
    "Receive buffers that are held now; GANTRY_DICOM__BUFFER_BYTES bounds them for each process.",
    multiprocess_mode="livesum",
)
BUFFER_WAITS = Counter(
    "gantry_dimse_buffer_waits_total",
    "Reads that waited for a buffer, for all that the budget allows were in use.",
)
TLS_FAILURES = Counter("gantry_dimse_tls_failures_total", "TLS handshakes of peers that came to nothing.")
