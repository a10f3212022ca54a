using Amazon.Runtime;
using Amazon.S3;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Logging.Abstractions;
using Storage.Cluster;
using Storage.S3;
using Storage.S3.Backend;
using Storage.S3.Users;
using Storage.Tests.Kit;
using Xunit;

namespace Storage.Tests.S3;

/// <summary>A gateway on a loopback port over a cluster in memory, and an independent client (the AWS SDK) with a user's keys.</summary>
public sealed class GatewayFixture : IAsyncLifetime
{
    private WebApplication? _server;

    internal MemoryObjectClient Cluster { get; } = new("s3.index", "s3.data");

    internal S3Options Options { get; } = new() { Listen = new NodeAddress("127.0.0.1", 0), GarbageDelay = TimeSpan.Zero, ChunkBytes = 1 << 20, IndexShards = 3 };

    internal Uri Endpoint { get; private set; } = new("http://127.0.0.1");

    internal S3User User { get; private set; } = null!;

    internal UserStore Users { get; private set; } = null!;

    internal AmazonS3Client Client { get; private set; } = null!;

    internal S3Gateway Gateway { get; private set; } = null!;

    public async Task InitializeAsync()
    {
        Users = new UserStore(Cluster, Options, TimeProvider.System);
        User = await Users.CreateAsync("tester", "", "", "", default);
        Gateway = new S3Gateway(Cluster, Options, TimeProvider.System, NullLogger.Instance);
        _server = S3Server.Build(Gateway, Options, _ => { });
        await _server.StartAsync();
        Endpoint = new Uri(_server.Urls.First());
        Client = NewClient(User.Keys[0].AccessKey, User.Keys[0].SecretKey);
    }

    public async Task DisposeAsync()
    {
        Client.Dispose();
        await _server!.DisposeAsync();
    }

    internal AmazonS3Client NewClient(string accessKey, string secretKey) => new(
        new BasicAWSCredentials(accessKey, secretKey),
        new AmazonS3Config { ServiceURL = Endpoint.ToString(), ForcePathStyle = true, AuthenticationRegion = "us-east-1", MaxErrorRetry = 0 });
}
