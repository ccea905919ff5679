//! The agent under generated events.
