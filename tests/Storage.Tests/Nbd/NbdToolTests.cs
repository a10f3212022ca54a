using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Storage.Block;
using Storage.Nbd;
using Storage.Reactor;
using Storage.Tests.Kit;
using Xunit;

namespace Storage.Tests.Nbd;

/// <summary>The server as other people's clients see it: libnbd's tools and QEMU's.</summary>
public sealed class NbdToolTests : IDisposable
{
    private readonly ReactorLoop _loop = new();
    private readonly Thread _thread;
    private readonly MemoryObjectClient _client = new("volumes:block", "fast:block");
    private readonly string _directory = Directory.CreateTempSubdirectory("storage-nbd-").FullName;
    private readonly NbdServer _server;
    private readonly string _uri;

    public NbdToolTests()
    {
        _thread = _loop.RunOnThread("nbd-test");
        _server = OnLoop(async () =>
        {
            var store = new VolumeStore(_client, _loop.TimeProvider, new Random(1));
            await store.CreateAsync(VolumeName.Parse("disk"), 64 << 20);
            await store.CreateAsync(VolumeName.Parse("fast/other"), 1 << 20);
            return new NbdServer(_loop, new IPEndPoint(IPAddress.Loopback, 0), new ClusterVolumeProvider(_client, store));
        });
        _uri = $"nbd://{_server.LocalEndPoint}";
    }

    public void Dispose()
    {
        OnLoop(() =>
        {
            _server.Dispose();
            return Task.FromResult(0);
        });
        _loop.Stop();
        _thread.Join();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public void NbdinfoListsAndDescribesExports()
    {
        string list = Call("nbdinfo", "--list", _uri);
        Assert.Contains("export=\"disk\"", list, StringComparison.Ordinal);
        Assert.Contains("export=\"fast/other\"", list, StringComparison.Ordinal);
        string info = Call("nbdinfo", _uri + "/disk");
        Assert.Contains("export-size: 67108864", info, StringComparison.Ordinal);
        Assert.Contains("can_multi_conn: true", info, StringComparison.Ordinal);
        Assert.Contains("base:allocation", info, StringComparison.Ordinal);
        (int code, string text) = Run("qemu-img", "info", _uri + "/nothing");
        Assert.NotEqual(0, code);
        Assert.Contains("no volume nothing", text, StringComparison.Ordinal);
    }

    [Fact]
    public void QemuIoWritesReadsZeroesAndDiscards()
    {
        string output = Call(
            "qemu-io", "-f", "raw", _uri + "/disk",
            "-c", "write -P 0x5a 4093k 2M", "-c", "flush", "-c", "read -P 0x5a 4093k 2M",
            "-c", "write -f -P 0x11 100 1000", "-c", "write -z -u 4500k 512k", "-c", "read -P 0 4500k 512k",
            "-c", "discard 4M 1M", "-c", "read -P 0 4M 400k", "-c", "read -P 0x5a 5120k 1000k", "-c", "read -P 0x5a 4093k 3k");
        Assert.DoesNotContain("failed", output, StringComparison.OrdinalIgnoreCase);
        Assert.Equal(0x11, _client.Find(1, _client.Names(1).First(name => name.EndsWith("0000", StringComparison.Ordinal)))!.Blocks[0][100]);
    }

    [Fact]
    public void ACopyInAndOutIsTheSameAndSparse()
    {
        string source = Path.Combine(_directory, "in");
        string target = Path.Combine(_directory, "out");
        using (FileStream file = File.Create(source))
        {
            var bytes = new byte[5_000_000];
            new Random(3).NextBytes(bytes);
            file.Write(bytes);
            file.Position = 40_000_000;
            file.Write(bytes);
            file.SetLength(64 << 20);
        }

        Call("nbdcopy", source, _uri + "/disk");
        Call("nbdcopy", _uri + "/disk", target);
        Assert.True(File.ReadAllBytes(source).AsSpan().SequenceEqual(File.ReadAllBytes(target)));
        string map = Call("nbdinfo", "--map", _uri + "/disk");
        Assert.Contains("hole,zero", map, StringComparison.Ordinal);
        Call("qemu-img", "compare", "-f", "raw", "-F", "raw", source, _uri + "/disk");
        // The tools end without waiting for the server to see their sockets close.
        Assert.True(SpinWait.SpinUntil(() => OnLoop(() => Task.FromResult(_server.Connections)) == 0, TimeSpan.FromSeconds(30)));
    }

    [Fact]
    public void GarbageEndsOnlyItsOwnConnection()
    {
        var random = new Random(5);
        for (int i = 0; i < 20; i++)
        {
            using var peer = new TcpClient();
            peer.Connect((IPEndPoint)_server.LocalEndPoint);
            NetworkStream stream = peer.GetStream();
            var bytes = new byte[random.Next(1, 4000)];
            random.NextBytes(bytes);
            stream.Write(bytes);
            peer.Client.Shutdown(SocketShutdown.Send);
            peer.ReceiveTimeout = 5000;
            try
            {
                var answer = new byte[4096];
                while (stream.Read(answer) > 0)
                {
                }
            }
            catch (IOException exception) when (exception.InnerException is SocketException { SocketErrorCode: SocketError.ConnectionReset })
            {
                // Closed with our bytes unread.
            }
        }

        Assert.Contains("67108864", Call("nbdinfo", "--size", _uri + "/disk"), StringComparison.Ordinal);
    }

    private static string Call(string program, params string[] arguments)
    {
        (int code, string text) = Run(program, arguments);
        Assert.True(code == 0, $"{program} {string.Join(' ', arguments)} exited with {code}: {text}");
        return text;
    }

    private static (int Code, string Text) Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        if (!process.WaitForExit(30_000))
        {
            process.Kill();
            Assert.Fail($"{program} does not end");
        }

        return (process.ExitCode, output + error.GetAwaiter().GetResult());
    }

    private T OnLoop<T>(Func<Task<T>> work)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        _loop.Post(
            async void (_) =>
            {
                try
                {
                    done.SetResult(await work());
                }
                catch (Exception exception)
                {
                    done.SetException(exception);
                }
            },
            null);
        return done.Task.WaitAsync(TimeSpan.FromSeconds(30)).GetAwaiter().GetResult();
    }
}
