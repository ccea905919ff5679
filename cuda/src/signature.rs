//! What kernels take, read from their sources: the one place where it is written.
//!
//! The build script reads it too, to write the calls of the twins.

/// The type of a kernel's parameter.
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
    /// `bits16*`: values of 16 bits
    Halves,
    /// `void*`: of floats or values of 16 bits, as an `int` beside it says
    FloatsOrHalves,
    /// `int`
    Int,
    /// `float`
    Float,
}

impl Kind {
    /// Bytes of a value in a device's memory; nothing of what no memory is made of.
    #[allow(dead_code, reason = "the build script has no memory")]
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

/// A kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// Its name.
    pub name: String,
    /// Its parameters' types, in order.
    pub parameters: Vec<Kind>,
    /// Whether the threads of a block wait for one another.
    #[allow(dead_code, reason = "the build script asks it")]
    pub synchronizes: bool,
}

/// The kernels of a source. `helpers` are functions of its own that wait.
///
/// # Errors
/// A parameter that is of none of the types above.
pub fn parse(source: &str) -> Result<Vec<Signature>, String> {
    let mut found = Vec::new();
    for text in source.split("\nKERNEL ").skip(1) {
        let (name, rest) = text.split_once('(').ok_or("a kernel without parameters")?;
        let (parameters, body) = rest.split_once(')').ok_or("parameters without an end")?;
        let parameters = parameters.split(',').map(|parameter| kind(name, parameter)).collect::<Result<_, _>>()?;
        // `over_rows` stands for what it does.
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
        _ => Err(format!(
            "{kernel} has a parameter `{}`, which is of none of the types that kernels take",
            parameter.trim()
        )),
    }
}
