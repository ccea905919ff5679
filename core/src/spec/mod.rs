//! The sweep file.
