//! Sends alerts by email.
