//! Convolutions by cuDNN: NHWC in `f32`, by deterministic algorithms and without TF32. Where it has no such algorithm, our own kernels do.

#![allow(unsafe_code, reason = "cuDNN is a library of C")]

use crate::convolution::{Convolution, Geometry, Pass};
use crate::device::DeviceError;
use crate::libraries::Library;
use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys;
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr::from_ref;
use std::sync::Arc;

/// Algorithms that are asked for at most.
const ALGORITHMS: usize = 8;

/// An algorithm of each product.
#[derive(Clone, Copy)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    Back(sys::cudnnConvolutionBwdDataAlgo_t),
    Weights(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// How a product of a convolution is computed.
struct Way {
    algorithm: Algorithm,
    /// Bytes.
    workspace: usize,
    described: Described,
}

/// Extents as cuDNN has them, destroyed when they are dropped.
struct Described {
    x: sys::cudnnTensorDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    w: sys::cudnnFilterDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
}

impl Drop for Described {
    fn drop(&mut self) {
        // SAFETY: each was created by `Described::new` and is destroyed once. That one could not be is nothing to act on.
        unsafe {
            let _ = result::destroy_tensor_descriptor(self.x);
            let _ = result::destroy_tensor_descriptor(self.y);
            let _ = result::destroy_filter_descriptor(self.w);
            let _ = result::destroy_convolution_descriptor(self.convolution);
        }
    }
}

fn failed(call: &'static str) -> impl Fn(CudnnError) -> DeviceError {
    move |error| DeviceError::failed(call, error.to_string())
}

fn int(value: usize) -> Result<c_int, DeviceError> {
    c_int::try_from(value).map_err(|_| DeviceError::Unfit(format!("{value} is more than cuDNN counts")))
}

impl Described {
    fn new(geometry: &Geometry) -> Result<Self, DeviceError> {
        let Geometry { samples, from, inputs, to, outputs, kernel, stride, margin } = *geometry;
        let (format, float) = (sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC, sys::cudnnDataType_t::CUDNN_DATA_FLOAT);
        let tensor = |channels, [rows, columns]: [usize; 2]| -> Result<_, DeviceError> {
            Ok([int(samples)?, int(channels)?, int(rows)?, int(columns)?])
        };
        let (x_extent, y_extent) = (tensor(inputs, from)?, tensor(outputs, to)?);
        let w_extent = [int(outputs)?, int(inputs)?, int(kernel[0])?, int(kernel[1])?];
        let (above, left, stride) = (int(margin[0])?, int(margin[1])?, int(stride)?);
        let made = failed("cudnnCreate…Descriptor");
        let described = Described {
            x: result::create_tensor_descriptor().map_err(&made)?,
            y: result::create_tensor_descriptor().map_err(&made)?,
            w: result::create_filter_descriptor().map_err(&made)?,
            convolution: result::create_convolution_descriptor().map_err(&made)?,
        };
        let set = failed("cudnnSet…Descriptor");
        // SAFETY: the descriptors were created above and live until they are dropped.
        unsafe {
            result::set_tensor4d_descriptor(described.x, format, float, x_extent).map_err(&set)?;
            result::set_tensor4d_descriptor(described.y, format, float, y_extent).map_err(&set)?;
            result::set_filter4d_descriptor(described.w, float, format, w_extent).map_err(&set)?;
            let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
            result::set_convolution2d_descriptor(described.convolution, above, left, stride, stride, 1, 1, mode, float)
                .map_err(&set)?;
            // No TF32, which keeps 10 bits of a factor.
            result::set_convolution_math_type(described.convolution, sys::cudnnMathType_t::CUDNN_FMA_MATH)
                .map_err(&set)?;
        }
        Ok(described)
    }
}

/// cuDNN on a stream.
pub(super) struct Cudnn {
    // Destroyed before the handle.
    ways: HashMap<(Geometry, u8), Option<Way>>,
    /// The largest is the last. None is freed, for a graph may know where it is.
    workspaces: Vec<CudaSlice<u8>>,
    handle: sys::cudnnHandle_t,
}

impl Drop for Cudnn {
    fn drop(&mut self) {
        self.ways.clear();
        // SAFETY: created by `Cudnn::open`, destroyed once.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

impl Cudnn {
    /// Nothing where cuDNN is not installed.
    pub fn open(stream: &Arc<CudaStream>) -> Result<Option<Self>, DeviceError> {
        if !Library::Cudnn.is_there() {
            return Ok(None);
        }
        stream.context().bind_to_thread().map_err(|error| DeviceError::failed("cuCtxSetCurrent", error.to_string()))?;
        let handle = result::create_handle().map_err(failed("cudnnCreate"))?;
        let cudnn = Cudnn { ways: HashMap::new(), workspaces: Vec::new(), handle };
        // SAFETY: the handle was created above; the stream lives longer, for the GPU drops cuDNN first.
        unsafe { result::set_stream(handle, stream.cu_stream().cast()) }.map_err(failed("cudnnSetStream"))?;
        Ok(Some(cudnn))
    }

    /// Such as `cudnn 9.10.2`.
    pub fn version(&self) -> String {
        let version = result::get_version();
        format!("cudnn {}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
    }

    /// Computes a product of a convolution over these addresses of x, w and y; whether there is a way.
    pub fn convolve(
        &mut self,
        convolution: &Convolution,
        [x, w, y]: [u64; 3],
        stream: &Arc<CudaStream>,
    ) -> Result<bool, DeviceError> {
        let bound = stream.context().bind_to_thread();
        bound.map_err(|error| DeviceError::failed("cuCtxSetCurrent", error.to_string()))?;
        let Convolution { geometry, pass, .. } = convolution;
        let (which, add) = match pass {
            Pass::Forward => (0, false),
            Pass::Back { add } => (1, *add),
            Pass::Weights => (2, false),
        };
        let key = (*geometry, which);
        if !self.ways.contains_key(&key) {
            let way = self.find(geometry, *pass)?;
            self.make_room(way.as_ref().map_or(0, |way| way.workspace), stream)?;
            self.ways.insert(key, way);
        }
        let Some(Some(Way { algorithm, workspace, described })) = self.ways.get(&key) else { return Ok(false) };
        let space = self.workspaces.last().map_or(0, |space| space.device_ptr(stream).0) as *mut c_void;
        let (one, rest) = (1.0f32, if add { 1.0f32 } else { 0.0 });
        let (alpha, beta) = (from_ref(&one).cast::<c_void>(), from_ref(&rest).cast::<c_void>());
        let [x, w, y] = [x, w, y].map(|address| address as *mut c_void);
        let Described { x: xs, y: ys, w: ws, convolution } = *described;
        // SAFETY: handle and descriptors live; `Convolution::run` has found that x, w and y have the lengths of these extents, and the
        // workspace has as many bytes as the algorithm asks for.
        unsafe {
            match *algorithm {
                Algorithm::Forward(algorithm) => result::convolution_forward(
                    self.handle,
                    alpha,
                    xs,
                    x,
                    ws,
                    w,
                    convolution,
                    algorithm,
                    space,
                    *workspace,
                    beta,
                    ys,
                    y,
                )
                .map_err(failed("cudnnConvolutionForward"))?,
                Algorithm::Back(algorithm) => result::convolution_backward_data(
                    self.handle,
                    alpha,
                    ws,
                    w,
                    ys,
                    y,
                    convolution,
                    algorithm,
                    space,
                    *workspace,
                    beta,
                    xs,
                    x,
                )
                .map_err(failed("cudnnConvolutionBackwardData"))?,
                Algorithm::Weights(algorithm) => result::convolution_backward_filter(
                    self.handle,
                    alpha,
                    xs,
                    x,
                    ys,
                    y,
                    convolution,
                    algorithm,
                    space,
                    *workspace,
                    beta,
                    ws,
                    w,
                )
                .map_err(failed("cudnnConvolutionBackwardFilter"))?,
            }
        }
        Ok(true)
    }

    fn make_room(&mut self, bytes: usize, stream: &Arc<CudaStream>) -> Result<(), DeviceError> {
        if bytes > self.workspaces.last().map_or(0, CudaSlice::len) {
            self.workspaces.push(super::allocated::<u8>(stream, bytes)?);
        }
        Ok(())
    }

    /// The algorithm that cuDNN thinks the fastest among those that give the same bytes every time and use no TF32. What it thinks
    /// follows from the extents, the GPU and its version alone: it measures nothing.
    fn find(&self, geometry: &Geometry, pass: Pass) -> Result<Option<Way>, DeviceError> {
        let described = Described::new(geometry)?;
        let Described { x, y, w, convolution } = described;
        // One that every product's list has the fields of.
        macro_rules! choose {
            ($ask:ident, $name:literal, ($($extent:expr),*), $algorithm:path) => {{
                // SAFETY: a list of numbers, for which all bits zero are values.
                let mut found = unsafe { std::mem::zeroed::<[_; ALGORITHMS]>() };
                let mut count = 0;
                // SAFETY: handle and descriptors live, and there is room for as many answers as are asked for.
                let code = unsafe {
                    sys::$ask(self.handle, $($extent),*, ALGORITHMS as c_int, &mut count, found.as_mut_ptr())
                };
                code.result().map_err(failed($name))?;
                let count = usize::try_from(count).unwrap_or_default();
                let good = found.iter().take(count).find(|answer| {
                    answer.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                        && answer.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
                        && matches!(
                            answer.mathType,
                            sys::cudnnMathType_t::CUDNN_FMA_MATH | sys::cudnnMathType_t::CUDNN_DEFAULT_MATH
                        )
                });
                good.map(|answer| ($algorithm(answer.algo), answer.memory))
            }};
        }
        let chosen = match pass {
            Pass::Forward => choose!(
                cudnnGetConvolutionForwardAlgorithm_v7,
                "cudnnGetConvolutionForwardAlgorithm",
                (x, w, convolution, y),
                Algorithm::Forward
            ),
            Pass::Back { .. } => choose!(
                cudnnGetConvolutionBackwardDataAlgorithm_v7,
                "cudnnGetConvolutionBackwardDataAlgorithm",
                (w, y, convolution, x),
                Algorithm::Back
            ),
            Pass::Weights => choose!(
                cudnnGetConvolutionBackwardFilterAlgorithm_v7,
                "cudnnGetConvolutionBackwardFilterAlgorithm",
                (x, y, convolution, w),
                Algorithm::Weights
            ),
        };
        Ok(chosen.map(|(algorithm, workspace)| Way { algorithm, workspace, described }))
    }
}
