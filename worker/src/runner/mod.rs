//! Runners: the child processes in which jobs train. On a processor there is one a slot; on a GPU one for all of its slots, with a lane for
//! each: a thread, and a stream of its own on the device. A runner outlives a job, so that data sets stay loaded.

mod child;
mod gate;
mod memory;
mod parent;

pub use child::{ChildOptions, serve, serve_with};
pub(crate) use parent::Runner;
pub use parent::RunnerOptions;

use prost::Message;
use std::io::{self, Read, Write};

/// A message longer than this is not one of ours.
const LONGEST: u32 = 16 << 20;
/// The exit code of a runner whose device has failed it for good: another process may have more luck. (EX_TEMPFAIL, as sysexits.h has it.)
const UNWELL: i32 = 75;

/// Writes a message behind its length (four bytes, big-endian), as tokio-util's `LengthDelimitedCodec` has it: all at once, so that
/// whoever reads wakes once.
fn write_message(to: &mut impl Write, message: &impl Message) -> io::Result<()> {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(4 + length);
    bytes.extend((length as u32).to_be_bytes());
    message.encode(&mut bytes).map_err(io::Error::other)?;
    to.write_all(&bytes)?;
    to.flush()
}

/// Reads a message behind its length; nothing at the end of the stream.
fn read_message<M: Message + Default>(from: &mut impl Read) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length);
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
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
    fn a_message_survives_the_pipe_and_the_end_of_the_stream_is_no_error() {
        let sent = v1::Progress { epoch: 1, epochs: 2, step: 3, steps: 4 };
        let mut pipe = Vec::new();
        write_message(&mut pipe, &sent).unwrap();
        let mut from = pipe.as_slice();
        assert_eq!(read_message(&mut from).unwrap(), Some(sent));
        assert_eq!(read_message::<v1::Progress>(&mut from).unwrap(), None);
    }

    #[test]
    fn a_length_out_of_all_proportion_is_refused() {
        assert!(read_message::<v1::Progress>(&mut [0xff; 8].as_slice()).is_err());
    }
}
