//! The byte format of a criterion's state: the name of the loss, then little-endian numbers.

/// The start of the state of the loss `name`.
pub(super) fn header(name: &str) -> Vec<u8> {
    let mut state = name.as_bytes().to_vec();
    state.push(0);
    state
}

/// Reads a state front to back.
pub(super) struct StateReader<'a> {
    name: &'static str,
    left: &'a [u8],
}

impl<'a> StateReader<'a> {
    /// # Errors
    /// If `state` is not of the loss `name`.
    pub(super) fn new(state: &'a [u8], name: &'static str) -> Result<Self, String> {
        match state.strip_prefix(header(name).as_slice()) {
            Some(left) => Ok(StateReader { name, left }),
            None => Err(format!("expected the state of `{name}`, found {} bytes of another loss", state.len())),
        }
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub(super) fn next_bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (first, rest) = self.left.split_first_chunk::<N>().ok_or_else(|| self.invalid("it ends too early"))?;
        self.left = rest;
        Ok(*first)
    }

    /// # Errors
    /// If bytes are left.
    pub(super) fn finish(self) -> Result<(), String> {
        if self.left.is_empty() { Ok(()) } else { Err(self.invalid("it is too long")) }
    }

    /// The message that the state is invalid because of `what`.
    pub(super) fn invalid(&self, what: &str) -> String {
        format!("cannot restore the state of `{}`: {what}", self.name)
    }
}
