//! Links, addresses and routes, by the programs `ip` and `tc`.

use std::net::Ipv4Addr;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// All hosts are in one network: `10.<zone>.<x>.<y>`, without a router in between.
pub const PREFIX_LENGTH: u8 = 8;
/// The lab itself: address of the bridge, and the way out of each host.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 254);

/// Starts `ip -batch`; the commands go to its standard input.
///
/// Separate from [`finish`] because a process belongs to the namespace of the thread that starts it.
pub fn start_ip() -> std::io::Result<Child> {
    Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Feeds `commands`, one a line, and waits.
pub async fn finish(child: std::io::Result<Child>, commands: &str) -> Result<()> {
    let mut child = child.context("running `ip` (install the package iproute2)")?;
    if let Some(mut stdin) = child.stdin.take() {
        // If the program is gone already its words say more than the broken pipe.
        let _ = stdin.write_all(commands.as_bytes()).await;
    }
    let output = child.wait_with_output().await.context("waiting for `ip`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip refused {commands:?}: {}", said.trim());
    }
    Ok(())
}

/// Runs `ip` in the network of the lab itself.
pub async fn ip(commands: &str) -> Result<()> {
    finish(start_ip(), commands).await
}

/// Runs `tc` in the network of the lab itself.
pub async fn tc(arguments: &str) -> Result<()> {
    let output = Command::new("tc")
        .args(arguments.split_whitespace())
        .output()
        .await
        .context("running `tc` (install the package iproute2)")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("tc refused {arguments:?}: {}", said.trim());
    }
    Ok(())
}
