//! How fast does a service's output get into its file, and what does that cost?
//!
//! `cargo run --release --example pump_throughput`: 512 MiB of 100-byte lines through a pipe, per format. CPU time is that
//! of the whole process, the child's thread included.

#[cfg(unix)]
fn main() -> std::io::Result<()> {
    unix::main()
}

#[cfg(not(unix))]
fn main() {
    eprintln!("this measures Unix pipes");
}

#[cfg(unix)]
mod unix {
    use std::io::{self, Write as _};
    use std::sync::{Arc, mpsc};
    use std::time::{Duration, Instant};

    use mcpd::log::{Logs, Settings};
    use mcpd_config::spec::{LogFormat, LogSpec, LogTarget};

    const MIB: u32 = 512;

    pub(super) fn main() -> io::Result<()> {
        for (format, target) in [
            (LogFormat::Text, LogTarget::File),
            (LogFormat::Json, LogTarget::File),
            (LogFormat::Raw, LogTarget::File),
            (LogFormat::Text, LogTarget::None),
        ] {
            run(format, target)?;
        }
        Ok(())
    }

    fn run(format: LogFormat, target: LogTarget) -> io::Result<()> {
        let dir = std::env::temp_dir().join(format!("mcpd-pump-throughput-{}", std::process::id()));
        let logs = Logs::start(Settings {
            spool: None,
            log_dir: dir.clone(),
            on_event: Arc::new(|event| eprintln!("{event:?}")),
        })?;
        logs.define(1, "load", &LogSpec { target, format, max_size: 16 << 20, max_files: 4 }, 100);
        let (mut sender, receiver) = mio::unix::pipe::new()?;
        sender.set_nonblocking(false)?;
        let (start, cpu) = (Instant::now(), cpu());
        logs.attach(1, 1, Some(receiver), None);
        let writer = std::thread::spawn(move || {
            let line = [&[b'x'; 99][..], b"\n"].concat();
            let block: Vec<u8> = line.iter().copied().cycle().take(64_000).collect();
            let mut left = u64::from(MIB) << 20;
            while left > 0 {
                let size = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
                sender.write_all(&block[..size])?;
                left -= size as u64;
            }
            Ok::<_, io::Error>(())
        });
        writer.join().map_err(|_| io::Error::other("the writer failed"))??;
        let (done, flushed) = mpsc::channel::<()>();
        logs.drain(1, 1, Box::new(|_| {}));
        logs.flush(Box::new(move || drop(done)));
        // Ends when the callback is dropped, after its call.
        let _ = flushed.recv();
        let (wall, cpu) = (start.elapsed().as_secs_f64(), (self::cpu() - cpu).as_secs_f64());
        println!(
            "{target:?} {format:?}: {:.0} MiB/s, {:.2} CPU s/GiB, {} lines dropped",
            f64::from(MIB) / wall,
            cpu * 1024.0 / f64::from(MIB),
            logs.dropped(1)
        );
        logs.stop(Duration::from_secs(10));
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// CPU time of this process so far.
    fn cpu() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_nanos(time.tv_nsec.unsigned_abs())
    }
}
