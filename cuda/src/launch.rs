//! Kernel launches, and the check of their arguments against the kernels' signatures.

use crate::error::DeviceError;
use crate::memory::DeviceMemory;
use crate::signature::Kind;
use crate::sources;

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument {
    Buffer(DeviceMemory),
    /// A null pointer.
    Null,
    Int(i32),
    Float(f32),
}

/// A kernel launch with its grid and arguments. Only `ops` creates launches.
#[derive(Clone, Debug)]
pub struct Launch {
    pub(crate) kernel: &'static str,
    pub(crate) blocks: u32,
    pub(crate) threads: u32,
    pub(crate) arguments: Vec<Argument>,
}

/// Returns an error unless the kernel exists and its parameters match the arguments.
pub(crate) fn check(launch: &Launch) -> Result<(), DeviceError> {
    let Some(signature) = sources::signature(launch.kernel) else {
        return Err(DeviceError::InvalidArgument(format!("no kernel has the name `{}`", launch.kernel)));
    };
    let fits = |(argument, kind): (&Argument, &Kind)| match argument {
        Argument::Buffer(memory) => {
            let either = *kind == Kind::FloatsOrHalves && matches!(memory.kind, Kind::Floats | Kind::Halves);
            memory.kind == *kind || either
        }
        Argument::Null => kind.size().is_some() || *kind == Kind::FloatsOrHalves,
        Argument::Int(_) => *kind == Kind::Int,
        Argument::Float(_) => *kind == Kind::Float,
    };
    if launch.arguments.len() == signature.parameters.len()
        && launch.arguments.iter().zip(&signature.parameters).all(fits)
    {
        return Ok(());
    }
    Err(DeviceError::InvalidArgument(format!(
        "{} expects the parameters {:?}, found the arguments {:?}",
        launch.kernel, signature.parameters, launch.arguments
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_whose_arguments_do_not_match_the_kernel_is_refused() {
        let memory = DeviceMemory { block: 0, kind: Kind::Floats, start: 0, length: 4 };
        let launch = |arguments| Launch { kernel: "mask", blocks: 1, threads: 32, arguments };
        let good = [Argument::Buffer(memory), Argument::Buffer(memory), Argument::Int(4)];
        assert_eq!(check(&launch(good.to_vec())), Ok(()));
        assert!(check(&launch(good[1..].to_vec())).is_err(), "a missing argument");
        assert!(check(&launch(vec![good[0], good[1], Argument::Float(4.0)])).is_err(), "a float instead of an int");
        let doubles = Argument::Buffer(DeviceMemory { kind: Kind::Doubles, ..memory });
        assert!(check(&launch(vec![good[0], doubles, good[2]])).is_err(), "doubles instead of floats");
        let error = check(&Launch { kernel: "masks", ..launch(good.to_vec()) }).unwrap_err();
        assert_eq!(error.to_string(), "no kernel has the name `masks`");
    }
}
