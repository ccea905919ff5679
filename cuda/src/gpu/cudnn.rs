//! Convolutions with cuDNN: NHWC, in `f32` with or without TF32, or in bfloat16 with `f32` sums. Only deterministic algorithms are used
//! unless others are allowed. Our own kernels compute whatever cuDNN does not support.
//!
//! Versions of cuDNN differ in how they report support. So the first run of a product tries the algorithms in the order of cuDNN's
//! heuristics and keeps the first that works. Nothing is timed: the choice depends on extents, GPU and cuDNN version alone.

#![allow(unsafe_code, reason = "calls a C library")]

use super::memory::allocated;
use crate::convolution::{Convolution, Geometry, Pass, ProductPrecision};
use crate::error::DeviceError;
use crate::libraries::Library;
use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys;
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr::{from_ref, null_mut};
use std::sync::Arc;

/// Oldest supported version. Earlier ones number their status codes differently.
const MIN_VERSION: usize = 90_000;

/// Maximum number of algorithms to query.
const MAX_ALGORITHMS: usize = 10;

/// Maximum workspace of an algorithm, in bytes.
const MAX_WORKSPACE: usize = 1 << 28;

/// Everything about a convolution that its plan depends on.
type PlanKey = (Geometry, Product, Precision);

/// A product of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Product {
    Forward,
    Back { add: bool },
    Weights,
}

/// Precision of the factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Precision {
    F32,
    Tf32,
    Bf16,
}

fn plan_key(convolution: &Convolution) -> PlanKey {
    let product = match convolution.pass {
        Pass::Forward => Product::Forward,
        // An algorithm that overwrites may not support accumulation.
        Pass::Back { add } => Product::Back { add },
        Pass::Weights => Product::Weights,
    };
    let precision = match convolution.factors {
        ProductPrecision::F32 => Precision::F32,
        ProductPrecision::Tf32 => Precision::Tf32,
        ProductPrecision::Bf16 { .. } => Precision::Bf16,
    };
    (convolution.geometry, product, precision)
}

/// An algorithm in cuDNN's answer to a query: `cudnnConvolution…AlgoPerf_t` with integers in place of enums, because a later version may
/// return values that these enums do not have.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct AlgorithmPerf {
    algorithm: c_int,
    status: c_int,
    time: f32,
    memory: usize,
    determinism: c_int,
    math: c_int,
    reserved: [c_int; 3],
}

const _: () = assert!(
    size_of::<AlgorithmPerf>() == size_of::<sys::cudnnConvolutionFwdAlgoPerf_t>()
        && size_of::<AlgorithmPerf>() == size_of::<sys::cudnnConvolutionBwdDataAlgoPerf_t>()
        && size_of::<AlgorithmPerf>() == size_of::<sys::cudnnConvolutionBwdFilterAlgoPerf_t>()
);

impl AlgorithmPerf {
    /// Returns whether the algorithm may be tried.
    fn is_usable(&self, deterministic: bool, precision: Precision) -> bool {
        use sys::cudnnMathType_t as Math;
        let good = self.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS as c_int;
        let same = self.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC as c_int;
        // In `f32` the reported math type does not matter: the descriptor fixes FMA.
        let math = precision == Precision::F32
            || [Math::CUDNN_DEFAULT_MATH, Math::CUDNN_TENSOR_OP_MATH, Math::CUDNN_FMA_MATH]
                .iter()
                .any(|math| self.math == *math as c_int);
        good && math && (same || !deterministic) && self.memory <= MAX_WORKSPACE
    }

    fn algorithm(&self, product: Product) -> Option<Algorithm> {
        use sys::cudnnConvolutionBwdDataAlgo_t as Back;
        use sys::cudnnConvolutionBwdFilterAlgo_t as Weights;
        use sys::cudnnConvolutionFwdAlgo_t as Forward;
        const FORWARD: [Forward; 8] = [
            Forward::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
            Forward::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
            Forward::CUDNN_CONVOLUTION_FWD_ALGO_GEMM,
            Forward::CUDNN_CONVOLUTION_FWD_ALGO_DIRECT,
            Forward::CUDNN_CONVOLUTION_FWD_ALGO_FFT,
            Forward::CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING,
            Forward::CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD,
            Forward::CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED,
        ];
        const BACK: [Back; 6] = [
            Back::CUDNN_CONVOLUTION_BWD_DATA_ALGO_0,
            Back::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
            Back::CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT,
            Back::CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING,
            Back::CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD,
            Back::CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED,
        ];
        const WEIGHTS: [Weights; 6] = [
            Weights::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0,
            Weights::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1,
            Weights::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT,
            Weights::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3,
            Weights::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED,
            Weights::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT_TILING,
        ];
        let number = self.algorithm;
        match product {
            Product::Forward => FORWARD.into_iter().find(|one| *one as c_int == number).map(Algorithm::Forward),
            Product::Back { .. } => BACK.into_iter().find(|one| *one as c_int == number).map(Algorithm::Back),
            Product::Weights => WEIGHTS.into_iter().find(|one| *one as c_int == number).map(Algorithm::Weights),
        }
    }
}

/// An algorithm of one of the products.
#[derive(Clone, Copy)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    Back(sys::cudnnConvolutionBwdDataAlgo_t),
    Weights(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// The plan of a product: its algorithm and descriptors.
struct Plan {
    algorithm: Algorithm,
    /// Workspace in bytes.
    workspace: usize,
    descriptors: Descriptors,
}

/// cuDNN's descriptors of a convolution, destroyed on drop.
struct Descriptors {
    x: sys::cudnnTensorDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    w: sys::cudnnFilterDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        let Descriptors { x, y, w, convolution } = *self;
        // SAFETY: `Descriptors::new` created each that is not null, and each is destroyed once. A failure is ignored: there is no remedy.
        unsafe {
            for tensor in [x, y].into_iter().filter(|tensor| !tensor.is_null()) {
                let _ = result::destroy_tensor_descriptor(tensor);
            }
            if !w.is_null() {
                let _ = result::destroy_filter_descriptor(w);
            }
            if !convolution.is_null() {
                let _ = result::destroy_convolution_descriptor(convolution);
            }
        }
    }
}

fn failed(call: &'static str) -> impl Fn(CudnnError) -> DeviceError {
    // CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED. Fewer slots may help.
    const FULL: u32 = 4004;
    move |error| match error.0 as u32 {
        FULL => DeviceError::OutOfMemory { wanted: 0 },
        _ => DeviceError::failed(call, error.to_string()),
    }
}

/// Returns whether the error means that the algorithm does not support this convolution.
fn is_unsupported(error: &CudnnError) -> bool {
    // The codes of this kind occupy a range of one thousand.
    let first = sys::cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED as u32;
    (first..first + 1000).contains(&(error.0 as u32))
}

fn int(value: usize) -> Result<c_int, DeviceError> {
    c_int::try_from(value)
        .map_err(|_| DeviceError::InvalidArgument(format!("{value} exceeds the range of cuDNN; use a smaller batch")))
}

impl Descriptors {
    fn new(geometry: &Geometry, precision: Precision) -> Result<Self, DeviceError> {
        let Geometry { samples, from, inputs, to, outputs, kernel, stride, margin } = *geometry;
        let (format, float) = (sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC, sys::cudnnDataType_t::CUDNN_DATA_FLOAT);
        let (values, math) = match precision {
            // FMA excludes TF32, which keeps 10 mantissa bits.
            Precision::F32 => (float, sys::cudnnMathType_t::CUDNN_FMA_MATH),
            // Allows TF32 on GPUs that have it.
            Precision::Tf32 => (float, sys::cudnnMathType_t::CUDNN_DEFAULT_MATH),
            Precision::Bf16 => (sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16, sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH),
        };
        let tensor = |channels, [rows, columns]: [usize; 2]| -> Result<_, DeviceError> {
            Ok([int(samples)?, int(channels)?, int(rows)?, int(columns)?])
        };
        let (x_extent, y_extent) = (tensor(inputs, from)?, tensor(outputs, to)?);
        let w_extent = [int(outputs)?, int(inputs)?, int(kernel[0])?, int(kernel[1])?];
        let (above, left, stride) = (int(margin[0])?, int(margin[1])?, int(stride)?);
        let made = failed("cudnnCreate…Descriptor");
        // Created one by one, so that an error destroys the earlier ones.
        let mut descriptors = Descriptors { x: null_mut(), y: null_mut(), w: null_mut(), convolution: null_mut() };
        descriptors.x = result::create_tensor_descriptor().map_err(&made)?;
        descriptors.y = result::create_tensor_descriptor().map_err(&made)?;
        descriptors.w = result::create_filter_descriptor().map_err(&made)?;
        descriptors.convolution = result::create_convolution_descriptor().map_err(&made)?;
        let set = failed("cudnnSet…Descriptor");
        // SAFETY: the descriptors exist until they are dropped.
        unsafe {
            result::set_tensor4d_descriptor(descriptors.x, format, values, x_extent).map_err(&set)?;
            result::set_tensor4d_descriptor(descriptors.y, format, values, y_extent).map_err(&set)?;
            result::set_filter4d_descriptor(descriptors.w, values, format, w_extent).map_err(&set)?;
            let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
            // Sums are always `f32`.
            result::set_convolution2d_descriptor(
                descriptors.convolution,
                above,
                left,
                stride,
                stride,
                1,
                1,
                mode,
                float,
            )
            .map_err(&set)?;
            result::set_convolution_math_type(descriptors.convolution, math).map_err(&set)?;
        }
        Ok(descriptors)
    }
}

/// A cuDNN handle bound to a stream.
pub(super) struct Cudnn {
    // Dropped before the handle.
    plans: HashMap<PlanKey, Option<Plan>>,
    /// The last workspace is the largest. Earlier ones stay allocated, because captured graphs refer to them.
    workspaces: Vec<CudaSlice<u8>>,
    deterministic: bool,
    handle: sys::cudnnHandle_t,
}

impl Drop for Cudnn {
    fn drop(&mut self) {
        self.plans.clear();
        // SAFETY: `Cudnn::open` created the handle, and it is destroyed once.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

impl Cudnn {
    /// Returns none if cuDNN is missing or too old.
    pub fn open(stream: &Arc<CudaStream>) -> Result<Option<Self>, DeviceError> {
        if !Library::Cudnn.is_available() || result::get_version() < MIN_VERSION {
            return Ok(None);
        }
        stream.context().bind_to_thread().map_err(|error| DeviceError::failed("cuCtxSetCurrent", error.to_string()))?;
        let handle = result::create_handle().map_err(failed("cudnnCreate"))?;
        let cudnn = Cudnn { plans: HashMap::new(), workspaces: Vec::new(), deterministic: true, handle };
        // SAFETY: the handle exists, and the stream outlives it because the GPU drops cuDNN first.
        unsafe { result::set_stream(handle, stream.cu_stream().cast()) }.map_err(failed("cudnnSetStream"))?;
        Ok(Some(cudnn))
    }

    /// Name and version, such as `cudnn 9.10.2`.
    pub fn version(&self) -> String {
        let version = result::get_version();
        format!("cudnn {}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
    }

    /// Also allows algorithms whose results differ from run to run.
    pub fn allow_nondeterministic(&mut self) {
        self.deterministic = false;
        self.plans.clear();
    }

    /// Returns whether the algorithm for this convolution has been chosen.
    pub fn has_plan(&self, convolution: &Convolution) -> bool {
        self.plans.contains_key(&plan_key(convolution))
    }

    /// Computes a product over the device addresses of x, w and y. Returns false if cuDNN does not support it.
    pub fn convolve(
        &mut self,
        convolution: &Convolution,
        addresses: [u64; 3],
        stream: &Arc<CudaStream>,
    ) -> Result<bool, DeviceError> {
        let bound = stream.context().bind_to_thread();
        bound.map_err(|error| DeviceError::failed("cuCtxSetCurrent", error.to_string()))?;
        let key = plan_key(convolution);
        match self.plans.get(&key) {
            Some(None) => return Ok(false),
            Some(Some(plan)) => {
                self.run(plan.algorithm, plan.workspace, &plan.descriptors, convolution.pass, addresses, stream)
                    .map_err(failed("cudnnConvolution…"))?;
                return Ok(true);
            }
            None => {}
        }
        let plan = self.find(key, convolution.pass, addresses, stream)?;
        let found = plan.is_some();
        self.plans.insert(key, plan);
        Ok(found)
    }

    /// Computes a product for the first time, with the first algorithm in cuDNN's order that supports it.
    fn find(
        &mut self,
        (geometry, product, precision): PlanKey,
        pass: Pass,
        addresses: [u64; 3],
        stream: &Arc<CudaStream>,
    ) -> Result<Option<Plan>, DeviceError> {
        let descriptors = Descriptors::new(&geometry, precision)?;
        let found_algorithms = match self.query_algorithms(&descriptors, product) {
            Ok(found_algorithms) => found_algorithms,
            Err(error) if is_unsupported(&error) => return Ok(None),
            Err(error) => return Err(failed("cudnnGetConvolution…Algorithm_v7")(error)),
        };
        let fit = found_algorithms.iter().filter(|perf| perf.is_usable(self.deterministic, precision));
        let tried: Vec<_> = fit.filter_map(|perf| Some((perf.algorithm(product)?, perf.memory))).collect();
        for (algorithm, workspace) in tried {
            self.reserve_workspace(workspace, stream)?;
            match self.run(algorithm, workspace, &descriptors, pass, addresses, stream) {
                Ok(()) => return Ok(Some(Plan { algorithm, workspace, descriptors })),
                Err(error) if is_unsupported(&error) => {}
                Err(error) => return Err(failed("cudnnConvolution…")(error)),
            }
        }
        Ok(None)
    }

    fn reserve_workspace(&mut self, bytes: usize, stream: &Arc<CudaStream>) -> Result<(), DeviceError> {
        if bytes > self.workspaces.last().map_or(0, CudaSlice::len) {
            self.workspaces.push(allocated(stream, bytes)?);
        }
        Ok(())
    }

    /// Returns the available algorithms, those first that cuDNN's heuristics consider fastest.
    fn query_algorithms(&self, descriptors: &Descriptors, product: Product) -> Result<Vec<AlgorithmPerf>, CudnnError> {
        let Descriptors { x, y, w, convolution } = *descriptors;
        let (mut found, mut count, most) = ([AlgorithmPerf::default(); MAX_ALGORITHMS], 0, MAX_ALGORITHMS as c_int);
        let (handle, found_algorithms) = (self.handle, found.as_mut_ptr());
        // SAFETY: handle and descriptors exist; the array has as many entries as requested, in cuDNN's layout.
        let code = unsafe {
            match product {
                Product::Forward => sys::cudnnGetConvolutionForwardAlgorithm_v7(
                    handle,
                    x,
                    w,
                    convolution,
                    y,
                    most,
                    &mut count,
                    found_algorithms.cast(),
                ),
                Product::Back { .. } => sys::cudnnGetConvolutionBackwardDataAlgorithm_v7(
                    handle,
                    w,
                    y,
                    convolution,
                    x,
                    most,
                    &mut count,
                    found_algorithms.cast(),
                ),
                Product::Weights => sys::cudnnGetConvolutionBackwardFilterAlgorithm_v7(
                    handle,
                    x,
                    y,
                    convolution,
                    w,
                    most,
                    &mut count,
                    found_algorithms.cast(),
                ),
            }
        };
        code.result()?;
        Ok(found.into_iter().take(usize::try_from(count).unwrap_or_default()).collect())
    }

    fn run(
        &self,
        algorithm: Algorithm,
        workspace: usize,
        descriptors: &Descriptors,
        pass: Pass,
        addresses: [u64; 3],
        stream: &Arc<CudaStream>,
    ) -> Result<(), CudnnError> {
        let space = self.workspaces.last().map_or(0, |space| space.device_ptr(stream).0) as *mut c_void;
        let (one, rest) = (1.0f32, if pass == (Pass::Back { add: true }) { 1.0f32 } else { 0.0 });
        let (alpha, beta) = (from_ref(&one).cast::<c_void>(), from_ref(&rest).cast::<c_void>());
        let [x, w, y] = addresses.map(|address| address as *mut c_void);
        let (handle, &Descriptors { x: xs, y: ys, w: ws, convolution: c }) = (self.handle, descriptors);
        // SAFETY: handle and descriptors exist. `Convolution::run` has checked the lengths and types of x, w and y, and the workspace has
        // the size that the algorithm requires.
        unsafe {
            match algorithm {
                Algorithm::Forward(by) => {
                    result::convolution_forward(handle, alpha, xs, x, ws, w, c, by, space, workspace, beta, ys, y)
                }
                Algorithm::Back(by) => {
                    result::convolution_backward_data(handle, alpha, ws, w, ys, y, c, by, space, workspace, beta, xs, x)
                }
                Algorithm::Weights(by) => result::convolution_backward_filter(
                    handle, alpha, xs, x, ys, y, c, by, space, workspace, beta, ws, w,
                ),
            }
        }
    }
}
