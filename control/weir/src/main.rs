//! The `weir` binary: everything is in the library beside it, where tests reach it.

/// The system's, with a count of each thread's calls: `weir bench` shows that workers make none.
#[global_allocator]
static ALLOCATOR: rte::allocator::Counting = rte::allocator::Counting;

fn main() -> std::process::ExitCode {
    weir::main()
}
