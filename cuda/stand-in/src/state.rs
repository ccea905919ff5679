//! What the stand-in holds for a process: contexts, memory, and all that has a handle. Handles are numbers that are looked up context, so a
//! wrong one is refused and harms nothing.

use crate::cards::visible;
use crate::code::Code;
use crate::settings::settings;
use std::alloc::Layout;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

/// Bytes on either side of a block that nobody may write to, and what each begins at a multiple of.
const GUARD: usize = 256;

/// What stands in them.
const GUARD_PATTERN: u8 = 0xA5;

/// What stands in memory that was not set: NaN, whether it is read as `f32` or as `f64`.
const UNSET_PATTERN: u8 = 0xFF;

/// A block of a GPU's memory.
pub(crate) struct Block {
    base: *mut u8,
    bytes: usize,
    card: usize,
}

// SAFETY: the memory is the block's own. Who uses it when is for the callers of the driver to keep in order, as on a GPU.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    fn layout(bytes: usize) -> Option<Layout> {
        Layout::from_size_align(bytes.checked_add(2 * GUARD)?, GUARD).ok()
    }

    fn new(bytes: usize, card: usize) -> Option<Block> {
        let layout = Block::layout(bytes)?;
        // SAFETY: the layout has a size, for the guards have.
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

    /// Where an address within it, or at its end, leads.
    pub fn at(&self, address: u64) -> *mut u8 {
        self.base.wrapping_add((address - self.base as u64) as usize)
    }

    /// Whether the guards are as they were.
    pub fn guards_are_intact(&self) -> bool {
        // SAFETY: both are within the allocation, and nobody writes to them: who does is caught context.
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
            // SAFETY: allocated with this layout in `Block::new`, and dropped once.
            unsafe { std::alloc::dealloc(self.base, layout) };
        }
    }
}

/// Work of a stream.
#[derive(Clone)]
pub(crate) enum Work {
    /// A kernel, with its arguments: addresses, and the bits of numbers.
    Launch { kernel: &'static str, blocks: u32, threads: u32, values: Vec<u64> },
    /// Bytes to be set.
    Set { address: u64, value: u8, bytes: usize },
}

/// A recording that has not ended.
pub(crate) struct Capture {
    pub work: Vec<Work>,
    /// Whether something broke it.
    pub broken: bool,
    /// Whose it is, and whether calls are forbidden to that thread meanwhile.
    pub thread: ThreadId,
    pub restricted: bool,
}

/// What has a handle.
pub(crate) enum Object {
    Stream(Option<Capture>),
    /// The kernels that it has.
    Module(Vec<&'static str>),
    Function(&'static str),
    Graph(Arc<Vec<Work>>),
    GraphExec(Arc<Vec<Work>>),
}

/// A GPU, as this process has it.
#[derive(Default)]
pub(crate) struct Card {
    /// How often its primary context was retained and not released.
    pub retained: usize,
    /// Bytes.
    pub used: u64,
    /// What poisoned it.
    pub error: Option<Code>,
}

/// What a process has.
pub(crate) struct State {
    pub started: bool,
    /// In the order in which the process sees them.
    pub cards: Vec<Card>,
    /// With the card that each belongs to.
    objects: BTreeMap<usize, (usize, Object)>,
    handles: usize,
    blocks: BTreeMap<u64, Arc<Block>>,
    launches: u64,
}

/// The process's state, for as long as the guard lives.
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
    /// The context that this thread works in: 0, or one more than the number of its card.
    pub(crate) static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// The state, and the card whose context is this thread's.
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

/// Where a call begins that needs a context, and one that is not poisoned.
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
    /// A handle for something of this card's.
    pub fn register(&mut self, object: Object) -> usize {
        self.handles += 1;
        // No number is handles twice, and none looks like an address.
        let (handle, card) = (self.handles * 16, self.card);
        self.objects.insert(handle, (card, object));
        handle
    }

    /// What has this handle, if it is this card's.
    pub fn object(&mut self, handle: usize) -> Result<&mut Object, Code> {
        let card = self.card;
        let found = self.objects.get_mut(&handle).filter(|(of, _)| *of == card);
        found.map(|(_, object)| object).ok_or(Code::INVALID_HANDLE)
    }

    /// What a stream is recording, if it does.
    pub fn stream(&mut self, handle: usize) -> Result<&mut Option<Capture>, Code> {
        match self.object(handle)? {
            Object::Stream(capture) => Ok(capture),
            _ => Err(Code::INVALID_HANDLE),
        }
    }

    /// That a stream is not recording; a recording is broken by what asks.
    pub fn require_not_capturing(&mut self, stream: usize) -> Result<(), Code> {
        match self.stream(stream)? {
            None => Ok(()),
            Some(capture) => {
                capture.broken = true;
                Err(Code::CAPTURE_UNSUPPORTED)
            }
        }
    }

    /// That no recording is broken by a call that concerns the whole card (`all`), or that this thread may not make while it records.
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

    /// The address of new memory.
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

    /// The block of this card's that has so many bytes from an address on.
    pub fn block(&self, address: u64, bytes: usize) -> Option<Arc<Block>> {
        let (start, block) = self.blocks.range(..=address).next_back()?;
        let end = (address - start).checked_add(bytes as u64)?;
        (block.card == self.card && end <= block.bytes as u64).then(|| block.clone())
    }

    /// Whether this launch is the one that is to fail.
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
    /// Lets all go that a card's context had.
    pub fn destroy_context(&mut self, card: usize) {
        self.objects.retain(|_, (of, _)| *of != card);
        self.blocks.retain(|_, block| block.card != card);
        self.cards[card].used = 0;
    }
}
