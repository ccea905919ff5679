//! The format of messages in the pipe between daemon and runner: a length in four bytes, big-endian, then a protobuf message. The daemon
//! reads and writes the same format with tokio-util's `LengthDelimitedCodec`.

use prost::Message;
use std::io::{self, Read, Write};

/// The longest valid message, in bytes.
pub(super) const MAX_MESSAGE: u32 = 16 << 20;
/// The exit code of a runner whose device has failed; a new process may be able to use it. (EX_TEMPFAIL of sysexits.h.)
pub(super) const DEVICE_FAILED: i32 = 75;
/// The exit code of a runner whose host lacks threads or open files. (EX_OSERR of sysexits.h.)
pub(super) const HOST_FAILED: i32 = 71;

/// Writes a message with a single write, so that the reader wakes once.
pub(super) fn write_message(to: &mut impl Write, message: &impl Message) -> io::Result<()> {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(4 + length);
    bytes.extend((length as u32).to_be_bytes());
    message.encode(&mut bytes).map_err(io::Error::other)?;
    to.write_all(&bytes)?;
    to.flush()
}

/// Reads a message. `None` at the end of the stream.
pub(super) fn read_message<M: Message + Default>(from: &mut impl Read) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length);
    if length > MAX_MESSAGE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("expected a message of at most {MAX_MESSAGE} bytes, found {length}"),
        ));
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    M::decode(bytes.as_slice()).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plusminus_proto::v1;

    #[test]
    fn a_message_is_read_as_written_and_the_end_of_the_stream_is_no_error() {
        let sent = v1::Progress { epoch: 1, epochs: 2, step: 3, steps: 4 };
        let mut pipe = Vec::new();
        write_message(&mut pipe, &sent).unwrap();
        let mut from = pipe.as_slice();
        assert_eq!(read_message(&mut from).unwrap(), Some(sent));
        assert_eq!(read_message::<v1::Progress>(&mut from).unwrap(), None);
    }

    #[test]
    fn a_message_that_is_too_long_is_refused() {
        assert!(read_message::<v1::Progress>(&mut [0xff; 8].as_slice()).is_err());
    }
}
