//! State of the simulated driver in a process: contexts, memory, and all objects with handles. Handles are numbers that are looked up, so an
//! invalid one is refused and does no harm.

use crate::cards::visible;
use crate::code::Code;
use crate::settings::settings;
use std::alloc::Layout;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

/// Guard bytes on either side of a block; also the alignment of blocks.
const GUARD: usize = 256;

/// Value of the guard bytes.
const GUARD_PATTERN: u8 = 0xA5;

/// Value of uninitialised bytes: NaN as `f32` and as `f64`.
const UNSET_PATTERN: u8 = 0xFF;

/// A block of device memory.
pub(crate) struct Block {
    base: *mut u8,
    bytes: usize,
    card: usize,
}

// SAFETY: the memory belongs to the block. The driver's callers order accesses to it, as on a GPU.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    fn layout(bytes: usize) -> Option<Layout> {
        Layout::from_size_align(bytes.checked_add(2 * GUARD)?, GUARD).ok()
    }

    fn new(bytes: usize, card: usize) -> Option<Block> {
        let layout = Block::layout(bytes)?;
        // SAFETY: the size is not zero because of the guards.
        let base = unsafe { std::alloc::alloc(layout) };
        if base.is_null() {
            return None;
        }
        // SAFETY: that many bytes were allocated.
        unsafe {
            base.write_bytes(GUARD_PATTERN, layout.size());
            base.add(GUARD).write_bytes(UNSET_PATTERN, bytes);
        }
        Some(Block { base, bytes, card })
    }

    fn start(&self) -> u64 {
        self.base as u64 + GUARD as u64
    }

    /// The pointer for an address within the block or at its end.
    pub fn at(&self, address: u64) -> *mut u8 {
        self.base.wrapping_add((address - self.base as u64) as usize)
    }

    /// Returns whether the guard bytes are unchanged.
    pub fn guards_are_intact(&self) -> bool {
        // SAFETY: both ranges lie within the allocation. A kernel that writes to them is detected here, after it has finished.
        let guards = unsafe {
            let after = self.base.add(GUARD + self.bytes);
            [std::slice::from_raw_parts(self.base, GUARD), std::slice::from_raw_parts(after, GUARD)]
        };
        guards.into_iter().flatten().all(|byte| *byte == GUARD_PATTERN)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(layout) = Block::layout(self.bytes) {
            // SAFETY: `Block::new` allocated it with this layout, and it is dropped once.
            unsafe { std::alloc::dealloc(self.base, layout) };
        }
    }
}

/// An operation of a stream.
#[derive(Clone)]
pub(crate) enum Work {
    /// A kernel launch. `values` are its arguments: addresses, or the bits of numbers.
    Launch { kernel: &'static str, blocks: u32, threads: u32, values: Vec<u64> },
    /// Sets bytes to a value.
    Set { address: u64, value: u8, bytes: usize },
}

/// A capture in progress.
pub(crate) struct Capture {
    pub work: Vec<Work>,
    /// A forbidden call has invalidated the capture.
    pub broken: bool,
    /// The thread that began the capture; `restricted` forbids it unsafe calls meanwhile.
    pub thread: ThreadId,
    pub restricted: bool,
}

/// An object with a handle.
pub(crate) enum Object {
    Stream(Option<Capture>),
    /// The kernels of the module.
    Module(Vec<&'static str>),
    Function(&'static str),
    Graph(Arc<Vec<Work>>),
    GraphExec(Arc<Vec<Work>>),
}

/// A GPU in this process.
#[derive(Default)]
pub(crate) struct Card {
    /// Reference count of the primary context.
    pub retained: usize,
    /// Allocated bytes.
    pub used: u64,
    /// The error that corrupted the context.
    pub error: Option<Code>,
}

/// State of the process.
pub(crate) struct State {
    pub started: bool,
    /// In the order in which the process sees them.
    pub cards: Vec<Card>,
    /// Objects by handle, with the card that each belongs to.
    objects: BTreeMap<usize, (usize, Object)>,
    handles: usize,
    blocks: BTreeMap<u64, Arc<Block>>,
    launches: u64,
}

/// Locks the state of the process.
pub(crate) fn state() -> MutexGuard<'static, State> {
    static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| {
        Mutex::new(State {
            started: false,
            cards: visible().iter().map(|_| Card::default()).collect(),
            objects: BTreeMap::new(),
            handles: 0,
            blocks: BTreeMap::new(),
            launches: 0,
        })
    });
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// The current context of the thread: 0 for none, otherwise the index of its card plus one.
    pub(crate) static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// The locked state, with the card of the thread's current context.
pub(crate) struct Context {
    state: MutexGuard<'static, State>,
    pub card: usize,
}

impl Deref for Context {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Context {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

/// Locks the state for a call that needs a working context. Returns the context's error if it is corrupted.
pub(crate) fn current_context() -> Result<Context, Code> {
    let state = state();
    if !state.started {
        return Err(Code::NOT_INITIALIZED);
    }
    let card = CURRENT.get().checked_sub(1).ok_or(Code::INVALID_CONTEXT)?;
    let found = state.cards.get(card).filter(|card| card.retained > 0).ok_or(Code::INVALID_CONTEXT)?;
    found.error.map_or(Ok(()), Err)?;
    Ok(Context { state, card })
}

impl Context {
    /// Registers an object of this card and returns its handle.
    pub fn register(&mut self, object: Object) -> usize {
        self.handles += 1;
        // Handles are never reused and do not look like addresses.
        let (handle, card) = (self.handles * 16, self.card);
        self.objects.insert(handle, (card, object));
        handle
    }

    /// The object with this handle, if it belongs to this card.
    pub fn object(&mut self, handle: usize) -> Result<&mut Object, Code> {
        let card = self.card;
        let found = self.objects.get_mut(&handle).filter(|(of, _)| *of == card);
        found.map(|(_, object)| object).ok_or(Code::INVALID_HANDLE)
    }

    /// The capture of a stream, if one is in progress.
    pub fn stream(&mut self, handle: usize) -> Result<&mut Option<Capture>, Code> {
        match self.object(handle)? {
            Object::Stream(capture) => Ok(capture),
            _ => Err(Code::INVALID_HANDLE),
        }
    }

    /// Returns an error if the stream is being captured, and invalidates that capture.
    pub fn require_not_capturing(&mut self, stream: usize) -> Result<(), Code> {
        match self.stream(stream)? {
            None => Ok(()),
            Some(capture) => {
                capture.broken = true;
                Err(Code::CAPTURE_UNSUPPORTED)
            }
        }
    }

    /// Invalidates captures that the call breaks, and returns an error if there are any: all captures of the card if `all` is set, otherwise those
    /// that restrict the calling thread.
    pub fn check_captures(&mut self, all: bool) -> Result<(), Code> {
        let (mut answer, card, thread) = (Ok(()), self.card, std::thread::current().id());
        for (of, object) in self.objects.values_mut() {
            let Object::Stream(Some(capture)) = object else { continue };
            if *of == card && (all || (capture.restricted && capture.thread == thread)) {
                capture.broken = true;
                answer = Err(Code::CAPTURE_UNSUPPORTED);
            }
        }
        answer
    }

    pub fn destroy(&mut self, handle: usize, is: impl Fn(&Object) -> bool) -> Result<(), Code> {
        if !is(self.object(handle)?) {
            return Err(Code::INVALID_HANDLE);
        }
        self.objects.remove(&handle);
        Ok(())
    }

    /// Allocates memory and returns its address.
    pub fn allocate(&mut self, bytes: usize) -> Result<u64, Code> {
        if bytes == 0 {
            return Err(Code::INVALID_VALUE);
        }
        let card = self.card;
        let used = self.cards[card].used.saturating_add(bytes as u64);
        if used > settings().memory {
            return Err(Code::OUT_OF_MEMORY);
        }
        let block = Block::new(bytes, card).ok_or(Code::OUT_OF_MEMORY)?;
        self.cards[card].used = used;
        let start = block.start();
        self.blocks.insert(start, Arc::new(block));
        Ok(start)
    }

    pub fn free(&mut self, address: u64) -> Result<(), Code> {
        let card = self.card;
        match self.blocks.get(&address) {
            Some(block) if block.card == card => {
                self.cards[card].used -= block.bytes as u64;
                self.blocks.remove(&address);
                Ok(())
            }
            _ => Err(Code::INVALID_VALUE),
        }
    }

    /// The block of this card that contains `bytes` bytes from `address` on.
    pub fn block(&self, address: u64, bytes: usize) -> Option<Arc<Block>> {
        let (start, block) = self.blocks.range(..=address).next_back()?;
        let end = (address - start).checked_add(bytes as u64)?;
        (block.card == self.card && end <= block.bytes as u64).then(|| block.clone())
    }

    /// Counts a launch and returns whether it must fail.
    pub fn should_fail(&mut self) -> bool {
        self.launches += 1;
        let settings = settings();
        if settings.fail_after.is_none_or(|after| self.launches <= after) {
            return false;
        }
        let once = settings.fail_once.as_ref();
        once.is_none_or(|file| std::fs::File::create_new(file).is_ok())
    }
}

impl State {
    /// Destroys everything that belongs to the context of a card.
    pub fn destroy_context(&mut self, card: usize) {
        self.objects.retain(|_, (of, _)| *of != card);
        self.blocks.retain(|_, block| block.card != card);
        self.cards[card].used = 0;
    }
}
