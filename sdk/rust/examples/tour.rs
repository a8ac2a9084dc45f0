//! The examples of README.md in one program, which a test compares with it: `tour [IMAGE]`.

use msb_sdk::agent::Message;
use msb_sdk::agent::messages::Ping;
use msb_sdk::{
    AgentClient, Client, DownOptions, Error, ExecEvent, List, LogQuery, Mount, Network, Port, Sandbox,
    UpOptions, WriteOptions,
};
use std::time::Duration;

async fn create(client: &Client, image: &str) -> Result<(), Error> {
    let mut made = client
        .sandbox("web", image)
        .cpus(1)
        .memory_mib(256)
        .env("MODE", "test")
        .label("team", "blue")
        .port(Port::tcp(0, 8080))
        .volume("/scratch", Mount::tmpfs().size_mib(16))
        .script("greet", "#!/bin/sh\necho \"hello, $1\"\n")
        .network(Network::only(["api.example.org"]))
        .replace_with_timeout(Duration::from_secs(5))
        .create()
        .await?;
    let page = client.list(List::new().label("team", "blue")).await?;
    println!("{} {} {}", made.status(), made.ports()[0].host, page.sandboxes.len());
    made.stop_with_timeout(Duration::from_secs(5)).await?;
    made.remove().await
}

async fn commands(sandbox: &Sandbox) -> Result<(), Error> {
    let output = sandbox
        .exec("sh", ["-c", "echo $A; pwd; exit 3"])
        .cwd("/tmp")
        .env("A", "1")
        .timeout(Duration::from_secs(30))
        .await?;
    println!("{} {:?} {}", output.exit_code(), output.stdout_text(), output.success());

    match sandbox.shell("echo begun; sleep 60").timeout(Duration::from_millis(500)).await {
        Err(Error::ExecTimeout(timeout)) => println!("{:?}: {:?}", timeout.timeout, timeout.stdout),
        other => println!("{other:?}"),
    }
    Ok(())
}

async fn streams(sandbox: &Sandbox) -> Result<(), Error> {
    let mut cat = sandbox.exec("cat", [""; 0]).stdin_pipe().start().await?;
    if let Some(mut stdin) = cat.stdin.take() {
        stdin.write("one\n").await?;
        println!("{:?}", cat.stdout.next_line().await?);
        stdin.close().await?;
    }
    println!("{:?}", cat.wait().await?);

    // Or as events, in their order.
    let mut process = sandbox.shell("echo out; echo err >&2").start().await?;
    while let Some(event) = process.next().await? {
        match event {
            ExecEvent::Stdout(data) => println!("stdout {data:?}"),
            ExecEvent::Stderr(data) => println!("stderr {data:?}"),
            other => println!("{other:?}"),
        }
    }
    Ok(())
}

async fn files(sandbox: &Sandbox, folder: &std::path::Path) -> Result<(), Error> {
    let fs = sandbox.fs();
    fs.write("/tmp/note", "hello").await?;
    println!("{} {}", fs.read_text("/tmp/note").await?, fs.stat("/tmp/note").await?.size);
    let mut writer = fs.write_stream("/tmp/big", WriteOptions::default()).await?;
    for _ in 0..4 {
        writer.write([b'x'; 100_000]).await?;
    }
    writer.close().await?;
    let mut reader = fs.read_stream("/tmp/big").await?;
    while let Some(piece) = reader.next().await? {
        println!("{} bytes", piece.len());
    }
    for entry in fs.list("/tmp").await? {
        println!("{} {}", entry.path.display(), entry.stat.kind.as_str());
    }
    fs.copy_to_host("/tmp/note", folder.join("note")).await?;
    Ok(())
}

async fn logs(sandbox: &Sandbox) -> Result<(), Error> {
    sandbox.exec("echo", ["a line"]).await?;
    let mut stream = sandbox.log_stream(&LogQuery::new().follow())?;
    if let Some(entry) = stream.next().await? {
        println!("{} {}", entry.source, entry.text());
        let later = sandbox.logs(&LogQuery::new().cursor(&entry.cursor)).await?;
        println!("{} later lines", later.len());
    }
    println!("{}", sandbox.metrics().await?.memory_limit_bytes);
    Ok(())
}

async fn raw(client: &Client, sandbox: &Sandbox) -> Result<(), Error> {
    let agent = AgentClient::connect_sandbox(client, sandbox.name()).await?;
    println!("{:?} {}", agent.ready().agent_version, agent.ready_bytes().len());
    let answer = agent.call(&Message::from(Ping {})).await?;
    println!("{}", answer.message_type());
    agent.close().await;
    Ok(())
}

async fn projects(client: &Client, folder: &std::path::Path) -> Result<(), Error> {
    let project = client.project(folder);
    for change in project.plan(true).await?.changes {
        println!("{} {}", change.name, change.action);
    }
    let mut run = project.up(&UpOptions { trust: true, ..UpOptions::default() })?;
    while let Some(event) = run.next().await? {
        println!("{}", event.kind);
    }
    project.down(&DownOptions::default())?.wait().await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let image = std::env::args().nth(1).unwrap_or_else(|| "alpine".to_owned());
    let host =
        |source| Error::Host { action: "write", path: "tour".into(), source: std::sync::Arc::new(source) };
    let folder = std::env::temp_dir().join(format!("msb-tour-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(host)?;
    let sandboxfile = format!("project \"msb-tour\"\n\nsandbox \"web\" image=\"{image}\"\n");
    std::fs::write(folder.join("Sandboxfile"), sandboxfile).map_err(host)?;

    let client = Client::new();
    create(&client, &image).await?;
    let sandbox = client.sandbox("tour", image.as_str()).replace().ephemeral().create().await?;
    commands(&sandbox).await?;
    streams(&sandbox).await?;
    files(&sandbox, &folder).await?;
    logs(&sandbox).await?;
    raw(&client, &sandbox).await?;
    sandbox.close().await?;
    projects(&client, &folder).await?;
    std::fs::remove_dir_all(&folder).map_err(host)
}
