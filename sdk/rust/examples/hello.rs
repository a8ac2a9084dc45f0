use msb_sdk::{Client, Error};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let image = std::env::args().nth(1).unwrap_or_else(|| "alpine".to_owned());
    let client = Client::new();
    let sandbox = client.sandbox("hello", image).replace().ephemeral().create().await?;
    let output = sandbox.exec("echo", ["hello from a sandbox"]).await?;
    print!("{}", output.stdout_text());
    sandbox.close().await
}
