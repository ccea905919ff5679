//! Convolutions by cuDNN: NHWC, in `f32` without TF32, with TF32, or of bfloat16 with sums in `f32`; by deterministic algorithms unless others
//! are allowed. Where it has none that runs, our own kernels do.
//!
//! Which algorithms there are for what is told differently from version to version. So they are tried in the order in which cuDNN thinks of
//! them, once, when a product is computed for the first time: nothing is measured, and what is chosen follows from the extents, the GPU and
//! cuDNN's version alone.

#![allow(unsafe_code, reason = "cuDNN is a library of C")]

use super::memory::allocated;
use crate::convolution::{Convolution, Factors, Geometry, Pass};
use crate::error::DeviceError;
use crate::libraries::Library;
use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys;
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr::{from_ref, null_mut};
use std::sync::Arc;

/// The oldest version that there are bindings for: others number their found_algorithms otherwise.
const MIN_VERSION: usize = 90_000;

/// Algorithms that are asked for at most.
const MAX_ALGORITHMS: usize = 10;

/// Bytes that an algorithm may take beside what it reads and writes.
const MAX_WORKSPACE: usize = 1 << 28;

/// What of a convolution a plan of computing it hangs on.
type PlanKey = (Geometry, Product, Precision);

/// Which product it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Product {
    Forward,
    Back { add: bool },
    Weights,
}

/// In what precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Precision {
    F32,
    Tf32,
    Bf16,
}

fn plan_key(convolution: &Convolution) -> PlanKey {
    let product = match convolution.pass {
        Pass::Forward => Product::Forward,
        // A plan that writes may be none that adds.
        Pass::Back { add } => Product::Back { add },
        Pass::Weights => Product::Weights,
    };
    let precision = match convolution.factors {
        Factors::F32 => Precision::F32,
        Factors::Tf32 => Precision::Tf32,
        Factors::Bf16 { .. } => Precision::Bf16,
    };
    (convolution.geometry, product, precision)
}

/// An algorithm, as cuDNN found_algorithms when it is asked for some: `cudnnConvolution…AlgoPerf_t`, with numbers where that has names, for a later
/// version may perf by a number that has none yet.
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
    /// Whether what it names may be tried.
    fn is_usable(&self, deterministic: bool, precision: Precision) -> bool {
        use sys::cudnnMathType_t as Math;
        let good = self.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS as c_int;
        let same = self.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC as c_int;
        // With FMA alone in `f32` whatever is answered: the descriptor says so, and stays as it is.
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

/// An algorithm of each product.
#[derive(Clone, Copy)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    Back(sys::cudnnConvolutionBwdDataAlgo_t),
    Weights(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// How a product of a convolution is computed.
struct Plan {
    algorithm: Algorithm,
    /// Bytes.
    workspace: usize,
    descriptors: Descriptors,
}

/// Extents as cuDNN has them, destroyed when they are dropped.
struct Descriptors {
    x: sys::cudnnTensorDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    w: sys::cudnnFilterDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        let Descriptors { x, y, w, convolution } = *self;
        // SAFETY: each was created by `Descriptors::new`, if it is one, and is destroyed once. That one could not be is nothing to act on.
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
    // CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED: fewer slots may do.
    const FULL: u32 = 4004;
    move |error| match error.0 as u32 {
        FULL => DeviceError::OutOfMemory { wanted: 0 },
        _ => DeviceError::failed(call, error.to_string()),
    }
}

/// Whether it is no failure, but a word that something else will have to do.
fn is_unsupported(error: &CudnnError) -> bool {
    // All kinds of it have one thousand for themselves.
    let first = sys::cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED as u32;
    (first..first + 1000).contains(&(error.0 as u32))
}

fn int(value: usize) -> Result<c_int, DeviceError> {
    c_int::try_from(value).map_err(|_| DeviceError::Unfit(format!("{value} is more than cuDNN counts")))
}

impl Descriptors {
    fn new(geometry: &Geometry, precision: Precision) -> Result<Self, DeviceError> {
        let Geometry { samples, from, inputs, to, outputs, kernel, stride, margin } = *geometry;
        let (format, float) = (sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC, sys::cudnnDataType_t::CUDNN_DATA_FLOAT);
        let (values, math) = match precision {
            // Without TF32, which keeps 10 bits of a factor.
            Precision::F32 => (float, sys::cudnnMathType_t::CUDNN_FMA_MATH),
            // With TF32 where the GPU has it.
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
        // One after the other, so that those before one that fails are destroyed.
        let mut descriptors = Descriptors { x: null_mut(), y: null_mut(), w: null_mut(), convolution: null_mut() };
        descriptors.x = result::create_tensor_descriptor().map_err(&made)?;
        descriptors.y = result::create_tensor_descriptor().map_err(&made)?;
        descriptors.w = result::create_filter_descriptor().map_err(&made)?;
        descriptors.convolution = result::create_convolution_descriptor().map_err(&made)?;
        let set = failed("cudnnSet…Descriptor");
        // SAFETY: the descriptors were created above and live until they are dropped.
        unsafe {
            result::set_tensor4d_descriptor(descriptors.x, format, values, x_extent).map_err(&set)?;
            result::set_tensor4d_descriptor(descriptors.y, format, values, y_extent).map_err(&set)?;
            result::set_filter4d_descriptor(descriptors.w, values, format, w_extent).map_err(&set)?;
            let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
            // Sums are `f32` always.
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

/// cuDNN on a stream.
pub(super) struct Cudnn {
    // Destroyed before the handle.
    plans: HashMap<PlanKey, Option<Plan>>,
    /// The largest is the last. None is freed, for a graph may know where it is.
    workspaces: Vec<CudaSlice<u8>>,
    deterministic: bool,
    handle: sys::cudnnHandle_t,
}

impl Drop for Cudnn {
    fn drop(&mut self) {
        self.plans.clear();
        // SAFETY: created by `Cudnn::open`, destroyed once.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

impl Cudnn {
    /// Nothing where cuDNN is not installed, or one that is too old.
    pub fn open(stream: &Arc<CudaStream>) -> Result<Option<Self>, DeviceError> {
        if !Library::Cudnn.is_available() || result::get_version() < MIN_VERSION {
            return Ok(None);
        }
        stream.context().bind_to_thread().map_err(|error| DeviceError::failed("cuCtxSetCurrent", error.to_string()))?;
        let handle = result::create_handle().map_err(failed("cudnnCreate"))?;
        let cudnn = Cudnn { plans: HashMap::new(), workspaces: Vec::new(), deterministic: true, handle };
        // SAFETY: the handle was created above; the stream lives longer, for the GPU drops cuDNN first.
        unsafe { result::set_stream(handle, stream.cu_stream().cast()) }.map_err(failed("cudnnSetStream"))?;
        Ok(Some(cudnn))
    }

    /// Such as `cudnn 9.10.2`.
    pub fn version(&self) -> String {
        let version = result::get_version();
        format!("cudnn {}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
    }

    /// From now on plans are taken, too, that give other bytes every time.
    pub fn allow_nondeterministic(&mut self) {
        self.deterministic = false;
        self.plans.clear();
    }

    /// Whether it has been decided how this is computed.
    pub fn has_plan(&self, convolution: &Convolution) -> bool {
        self.plans.contains_key(&plan_key(convolution))
    }

    /// Computes a product of a convolution over these addresses of x, w and y; whether there is a plan.
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
                    .map_err(failed("a convolution of cuDNN's"))?;
                return Ok(true);
            }
            None => {}
        }
        let plan = self.find(key, convolution.pass, addresses, stream)?;
        let found = plan.is_some();
        self.plans.insert(key, plan);
        Ok(found)
    }

    /// Computes a product for the first time: by the first algorithm that does it, in the order in which cuDNN thinks of them.
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
                Err(error) => return Err(failed("a convolution of cuDNN's")(error)),
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

    /// The algorithms that there are, those first of which cuDNN thinks that they are the fastest.
    fn query_algorithms(&self, descriptors: &Descriptors, product: Product) -> Result<Vec<AlgorithmPerf>, CudnnError> {
        let Descriptors { x, y, w, convolution } = *descriptors;
        let (mut found, mut count, most) = ([AlgorithmPerf::default(); MAX_ALGORITHMS], 0, MAX_ALGORITHMS as c_int);
        let (handle, found_algorithms) = (self.handle, found.as_mut_ptr());
        // SAFETY: handle and descriptors live; there is room for as many found_algorithms as are asked for, and each is laid out as cuDNN's.
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
        // SAFETY: handle and descriptors live; `Convolution::run` has found that x, w and y have the lengths and bits of these extents, and
        // the workspace has as many bytes as the algorithm asks for.
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
