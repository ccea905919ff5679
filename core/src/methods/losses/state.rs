//! The bytes in which a criterion's state is kept: the loss's name, then numbers, little-endian.

/// Begins the state of the loss called `name`.
pub(super) fn begin(name: &str) -> Vec<u8> {
    let mut state = name.as_bytes().to_vec();
    state.push(0);
    state
}

/// Reads a state in the order in which it was written.
pub(super) struct Reader<'a> {
    name: &'static str,
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    /// # Errors
    /// Unless `state` is that of the loss called `name`.
    pub(super) fn new(state: &'a [u8], name: &'static str) -> Result<Self, String> {
        match state.strip_prefix(begin(name).as_slice()) {
            Some(left) => Ok(Reader { name, left }),
            None => Err(format!("expected the state of `{name}`, found {} bytes of another loss", state.len())),
        }
    }

    /// The next `N` bytes.
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (first, rest) = self.left.split_first_chunk::<N>().ok_or_else(|| self.wrong("it ends too early"))?;
        self.left = rest;
        Ok(*first)
    }

    /// # Errors
    /// If anything is left.
    pub(super) fn finish(self) -> Result<(), String> {
        if self.left.is_empty() { Ok(()) } else { Err(self.wrong("it is too long")) }
    }

    /// That the state is not what it should be.
    pub(super) fn wrong(&self, what: &str) -> String {
        format!("the state of `{}` cannot be taken up again: {what}", self.name)
    }
}
