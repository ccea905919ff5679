//! x
#![allow(missing_docs, clippy::print_stdout)]
use plusminus_kernels::*;
fn cpu() -> f64 { let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime); t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9 }
fn time(flops: usize, label: &str, mut f: impl FnMut()) -> f64 {
    let mut ts: Vec<f64> = (0..41).map(|_| { let t = cpu(); f(); cpu() - t }).collect();
    ts.sort_by(f64::total_cmp);
    println!("{label}: {:.1} GF/s  {:.1} us", 2.0 * flops as f64 / ts[2] * 1e-9, ts[2] * 1e6);
    ts[2]
}
fn main() {
    for ins in Instructions::all().into_iter().take(2) {
        println!("{}", ins.name());
        for (ci, co, h, imgs) in [(16usize, 16usize, 32usize, 1usize), (32, 32, 16, 2), (64, 64, 8, 8), (64, 64, 28, 1), (32, 64, 24, 1), (128, 128, 14, 2), (256, 256, 7, 16), (512, 512, 4, 64)] {
            let hp = h + 2 + h % 2;
            let th = h.div_ceil(2);
            let t = th * th * imgs;
            let x = vec![0.5f32; imgs * hp * hp * ci]; let mut w = vec![0.25f32; 9 * ci * co]; let mut y = vec![0f32; imgs * h * h * co];
            let (vp, mp) = (t * ci + 16, t * co + 16);
            let mut u = vec![0f32; 16 * ci * co]; let mut v = vec![0f32; 16 * vp]; let mut m = vec![0f32; 16 * mp]; let mut dx = vec![0f32; imgs * hp * hp * ci];
            let fl = imgs * h * h * co * 9 * ci;
            println!("{ci}->{co} {h} x{imgs}: direct at 116: {:.1} us", 2.0 * fl as f64 / 116e9 * 1e6);
            time(fl, " kernel", || KernelTransform { kernels: &w, inputs: ci, transform: &mut u, transposed: false }.run(ins));
            time(fl, " kernelT", || KernelTransform { kernels: &w, inputs: ci, transform: &mut u, transposed: true }.run(ins));
            let tiles = |i: usize, place| Tiles { rows: 0..th, columns: th, first: i * th * th, place };
            let a = time(fl, " in", || for i in 0..imgs { InputTransform { image: &x[i * hp * hp * ci..], row: hp * ci, channels: ci, tiles: tiles(i, vp), transform: &mut v }.run(ins) });
            let b = time(fl, " gemms", || for f in 0..16 { Correlation { extents: Extents::matrix(t), x: &v[f * vp..], x_steps: Steps::matrix(ci), rows: 1, row: 0, length: ci, weights: &u[f * ci * co..][..ci * co], panel: ci * 16, outputs: co, y: &mut m[f * mp..], y_steps: Steps::matrix(co), accumulate: false }.run(ins) });
            let c = time(fl, " out", || for i in 0..imgs { OutputTransform { transform: &m, tiles: tiles(i, mp), extent: [h, h], channels: co, image: &mut y[i * h * h * co..][..h * h * co] }.run(ins) });
            println!("   fwd {:.1} GF/s", 2.0 * fl as f64 / (a + b + c) * 1e-9);
            let a2 = time(fl, " outgrad", || for i in 0..imgs { OutputGradient { transform: &mut m, tiles: tiles(i, mp), extent: [h, h], channels: co, image: &y[i * h * h * co..][..h * h * co] }.run(ins) });
            let c2 = time(fl, " ingrad", || for i in 0..imgs { InputGradient { image: &mut dx[i * hp * hp * ci..], row: hp * ci, channels: ci, tiles: tiles(i, vp), transform: &v }.run(ins) });
            let b2 = time(fl, " outers", || for f in 0..16 { OuterSum { extents: Extents::matrix(t), x: &v[f * vp..], x_steps: Steps::matrix(ci), rows: 1, row: 0, length: ci, weights: &mut u[f * ci * co..][..ci * co], panel: ci * 16, outputs: co, d: &m[f * mp..], d_steps: Steps::matrix(co) }.run(ins) });
            time(fl, " kernelgrad", || KernelGradient { kernels: &mut w, inputs: ci, transform: &u }.run(ins));
            println!("   bwd {:.1} GF/s", 4.0 * fl as f64 / (a + a2 + b + b2 + c2) * 1e-9);
        }
    }
}
