using Storage.EndToEnd.Tests.Kit;

namespace Storage.EndToEnd.Tests;

[Collection(ClusterCollection.Name)]
public sealed class S3Tests(ClusterFixture cluster)
{
    [Fact]
    public async Task AwsPutsAndGetsAMultipartObjectWhileAnOsdIsKilled()
    {
        await cluster.WholeAsync();
        string file = cluster.TempFile("s3.in");
        string hash = await Files.RandomAsync(file, 64 << 20, 4);
        (await AwsAsync("s3", "mb", "s3://aws")).Expect();
        Task<Tool.Result> copy = AwsAsync("s3", "cp", "--no-progress", file, "s3://aws/big");
        await cluster.KillAsync("osd.1");
        (await copy).Expect();
        (await AwsAsync("s3", "cp", "--no-progress", "s3://aws/big", file + ".back")).Expect();
        Assert.Equal(hash, await Files.HashAsync(file + ".back"));
        await cluster.StartAsync("osd.1");
        await cluster.WaitHealthyAsync();
        (await AwsAsync("s3", "cp", "--no-progress", "s3://aws/big", file + ".back")).Expect();
        Assert.Equal(hash, await Files.HashAsync(file + ".back"));
    }

    [Fact]
    public async Task RcloneSyncsAndChecksATreeWhileAnOsdIsKilled()
    {
        await cluster.WholeAsync();
        string tree = cluster.TempFile("tree");
        Directory.CreateDirectory(Path.Combine(tree, "deep/er"));
        for (int i = 0; i < 40; i++)
        {
            await Files.RandomAsync(Path.Combine(tree, i % 2 == 0 ? $"file {i}" : $"deep/er/{i}"), (i * 20_000) + 1, i);
        }

        Task<Tool.Result> sync = RcloneAsync("sync", tree, "s:rclone");
        await cluster.KillAsync("osd.2");
        (await sync).Expect();
        (await RcloneAsync("check", "--download", tree, "s:rclone")).Expect();
        await cluster.StartAsync("osd.2");
        await cluster.WaitHealthyAsync();
        (await RcloneAsync("check", "--download", tree, "s:rclone")).Expect();
    }

    [Fact]
    public async Task WrongKeysAreRefusedWithS3Codes()
    {
        Dictionary<string, string> environment = new(cluster.AwsEnvironment) { ["AWS_SECRET_ACCESS_KEY"] = "wrong" };
        Tool.Result wrongSecret = await AwsAsync(environment, "s3", "ls");
        Assert.NotEqual(0, wrongSecret.ExitCode);
        Assert.Contains("SignatureDoesNotMatch", wrongSecret.Error, StringComparison.Ordinal);
        environment["AWS_ACCESS_KEY_ID"] = "AKIANOBODY0000000000";
        Assert.Contains("InvalidAccessKeyId", (await AwsAsync(environment, "s3", "ls")).Error, StringComparison.Ordinal);
    }

    private Task<Tool.Result> AwsAsync(params string[] arguments) => AwsAsync(cluster.AwsEnvironment, arguments);

    private Task<Tool.Result> AwsAsync(IReadOnlyDictionary<string, string> environment, params string[] arguments) =>
        Tool.RunAsync(environment, "aws", ["--endpoint-url", cluster.S3, .. arguments]);

    private Task<Tool.Result> RcloneAsync(params string[] arguments) => Tool.RunAsync(
        new Dictionary<string, string>
        {
            ["RCLONE_CONFIG_S_TYPE"] = "s3",
            ["RCLONE_CONFIG_S_PROVIDER"] = "Other",
            ["RCLONE_CONFIG_S_ENDPOINT"] = cluster.S3,
            ["RCLONE_CONFIG_S_ACCESS_KEY_ID"] = cluster.AccessKey,
            ["RCLONE_CONFIG_S_SECRET_ACCESS_KEY"] = cluster.SecretKey,
            ["RCLONE_CONFIG_S_REGION"] = "us-east-1",
            ["RCLONE_CONFIG_S_FORCE_PATH_STYLE"] = "true",
        },
        "rclone",
        arguments);
}
