//! Reads the kernels' parameter types from their sources, so that they are declared once.
//!
//! The build script includes this file to generate the calls of the twins.

/// Type of a kernel's parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `float*`
    Floats,
    /// `double*`
    Doubles,
    /// `int*`
    Ints,
    /// `unsigned char*`
    Bytes,
    /// `bits16*`, bfloat16 values.
    Halves,
    /// `void*`: `float*` or `bits16*`, selected by an `int` parameter.
    FloatsOrHalves,
    /// `int`
    Int,
    /// `float`
    Float,
}

impl Kind {
    /// Size of a value in device memory, in bytes; none for types that cannot be allocated.
    #[allow(dead_code, reason = "unused by the build script")]
    pub fn size(self) -> Option<usize> {
        match self {
            Kind::Floats | Kind::Ints => Some(4),
            Kind::Doubles => Some(8),
            Kind::Halves => Some(2),
            Kind::Bytes => Some(1),
            Kind::FloatsOrHalves | Kind::Int | Kind::Float => None,
        }
    }
}

/// The signature of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// Name of the CUDA function.
    pub name: String,
    /// Parameter types in order.
    pub parameters: Vec<Kind>,
    /// The kernel may contain a barrier (`__syncthreads`), so a twin must run the threads of a block together.
    #[allow(dead_code, reason = "used by the build script only")]
    pub synchronizes: bool,
}

/// Returns the signatures of all kernels of a source.
///
/// # Errors
/// Returns a message if a parameter has an unsupported type.
pub fn parse(source: &str) -> Result<Vec<Signature>, String> {
    let mut found = Vec::new();
    for text in source.split("\nKERNEL ").skip(1) {
        let (name, rest) = text.split_once('(').ok_or("a kernel has no parameter list")?;
        let (parameters, body) = rest.split_once(')').ok_or("a parameter list has no end")?;
        let parameters = parameters.split(',').map(|parameter| kind(name, parameter)).collect::<Result<_, _>>()?;
        // `over_rows` calls `__syncthreads`.
        let synchronizes = ["__syncthreads", "over_rows"].iter().any(|word| body.contains(word));
        found.push(Signature { name: name.to_owned(), parameters, synchronizes });
    }
    Ok(found)
}

fn kind(kernel: &str, parameter: &str) -> Result<Kind, String> {
    let words: Vec<&str> = parameter.split_whitespace().filter(|word| *word != "const").collect();
    match words[..] {
        ["float*", _] => Ok(Kind::Floats),
        ["double*", _] => Ok(Kind::Doubles),
        ["int*", _] => Ok(Kind::Ints),
        ["unsigned", "char*", _] => Ok(Kind::Bytes),
        ["bits16*", _] => Ok(Kind::Halves),
        ["void*", _] => Ok(Kind::FloatsOrHalves),
        ["int", _] => Ok(Kind::Int),
        ["float", _] => Ok(Kind::Float),
        _ => Err(format!("{kernel}: parameter `{}` has an unsupported type", parameter.trim())),
    }
}
