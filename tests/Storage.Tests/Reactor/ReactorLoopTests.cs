using System.Diagnostics;
using Storage.Reactor;
using Storage.Reactor.Files;
using Xunit;

namespace Storage.Tests.Reactor;

/// <summary>On io_uring.</summary>
public sealed class ReactorLoopOnIoUringTests() : ReactorLoopTests(LoopEngine.IoUring);

/// <summary>On epoll and threads.</summary>
public sealed class ReactorLoopOnEpollTests() : ReactorLoopTests(LoopEngine.Epoll);

public abstract class ReactorLoopTests(LoopEngine engine)
{
    private readonly ReactorOptions _options = new() { Engine = engine };

    [Fact]
    public void PostedWorkRunsOnTheLoopInOrder()
    {
        using var fixture = new LoopFixture(_options);
        var seen = new List<int>();
        for (int i = 0; i < 10_000; i++)
        {
            int n = i;
            fixture.Post(() =>
            {
                Assert.True(fixture.Loop.IsCurrent);
                seen.Add(n);
            });
        }

        fixture.Run(() => { });
        Assert.Equal(Enumerable.Range(0, 10_000), seen);
        Assert.True(fixture.Loop.Statistics.WakeUps < 5_000, $"{fixture.Loop.Statistics.WakeUps} wake-ups for a burst of 10 000 posts");
    }

    [Fact]
    public void DeferredWorkRunsAfterThePassAndBeforeWhatWasPosted()
    {
        using var fixture = new LoopFixture(_options);
        var seen = new List<string>();
        fixture.Post(() =>
        {
            fixture.Loop.Post(_ => { seen.Add("posted"); fixture.Finished.Set(); }, null);
            fixture.Loop.Defer(_ => seen.Add("deferred"), null);
            seen.Add("now");
        });
        fixture.Await();
        Assert.Equal(["now", "deferred", "posted"], seen);
    }

    [Fact]
    public void TimersFireInOrderAndNotEarlyAndCancelledOnesNever()
    {
        using var fixture = new LoopFixture(_options);
        var seen = new List<int>();
        fixture.Post(() =>
        {
            TimeSpan start = fixture.Loop.Now;
            foreach (int delay in new[] { 30, 10, 20, 10 })
            {
                fixture.Loop.Schedule(TimeSpan.FromMilliseconds(delay), _ =>
                {
                    Assert.True(fixture.Loop.Now - start >= TimeSpan.FromMilliseconds(delay));
                    seen.Add(delay);
                }, null);
            }

            ILoopTimer cancelled = fixture.Loop.Schedule(TimeSpan.FromMilliseconds(15), _ => seen.Add(-1), null);
            cancelled.Cancel();
            cancelled.Cancel();
            fixture.Loop.Schedule(TimeSpan.FromMilliseconds(40), _ => fixture.Finished.Set(), null);
        });
        fixture.Await();
        Assert.Equal([10, 10, 20, 30], seen);
    }

    [Fact]
    public void AsyncCodeStaysOnTheLoop()
    {
        using var fixture = new LoopFixture(_options);
        fixture.Post(() =>
        {
            _ = Body();
            async Task Body()
            {
                for (int i = 0; i < 5; i++)
                {
                    await Task.Delay(TimeSpan.FromMilliseconds(1), fixture.Loop.TimeProvider);
                    Assert.True(fixture.Loop.IsCurrent);
                    await Task.Run(() => Assert.False(fixture.Loop.IsCurrent));
                    Assert.True(fixture.Loop.IsCurrent);
                }

                fixture.Finished.Set();
            }
        });
        fixture.Await();
    }

    [Fact]
    public void AnUncaughtExceptionStopsTheLoopAndIsReported()
    {
        using var loop = new ReactorLoop(_options);
        Exception? failure = null;
        loop.Failed += e => failure = e;
        Thread thread = loop.RunOnThread("failing loop");
        loop.Post(_ => throw new InvalidOperationException("broken"), null);
        Assert.True(thread.Join(TimeSpan.FromSeconds(5)));
        Assert.Equal("broken", failure?.Message);
    }

    [Fact]
    public void APassThatTakesTooLongIsTold()
    {
        using var fixture = new LoopFixture(_options with { StallThreshold = TimeSpan.FromMilliseconds(30), StallGrace = TimeSpan.Zero });
        LoopStalls told = default;
        fixture.Loop.Stalled += stalls =>
        {
            told = stalls;
            fixture.Finished.Set();
        };
        fixture.Post(() =>
        {
            long start = Stopwatch.GetTimestamp();
            while (Stopwatch.GetElapsedTime(start).TotalMilliseconds < 40)
            {
                Thread.SpinWait(1000);
            }
        });
        fixture.Await();
        Assert.True(told.Count >= 1);
        Assert.True(told.Longest.TotalMilliseconds >= 40);
    }

    [Fact]
    public void SpinningLoopStillSleepsAndWakes()
    {
        using var fixture = new LoopFixture(_options with { Spin = TimeSpan.FromMicroseconds(50) });
        for (int i = 0; i < 20; i++)
        {
            long before = fixture.Loop.Statistics.Sleeps;
            fixture.Run(() => { });
            Assert.True(SpinWait.SpinUntil(() => fixture.Loop.Statistics.Sleeps > before, TimeSpan.FromSeconds(5)));
        }

        Assert.True(fixture.Loop.Statistics.Sleeps > 0);
    }

    [Fact]
    public void DirectFileInputAndOutputRoundTrips()
    {
        string path = Path.Combine(Directory.GetCurrentDirectory(), $"reactor-file-{Environment.ProcessId}-{Guid.NewGuid():n}");
        try
        {
            using var fixture = new LoopFixture(_options);
            PageBuffer source = fixture.Pool.Rent(64 << 10);
            PageBuffer target = fixture.Pool.Rent(64 << 10);
            new Random(1).NextBytes(source.Span);
            target.Span.Clear();
            var results = new List<int>();
            ReactorFile? file = null;
            fixture.Post(() =>
            {
                file = ReactorFile.Open(fixture.Loop, path, FileAccessFlags.Write | FileAccessFlags.Create | FileAccessFlags.Direct | FileAccessFlags.Exclusive);
                file.Allocate(0, 1 << 20, Then(() =>
                    file.Write(8192, source.Slice(0, 16 << 10), Then(() =>
                    {
                        var vector = new IoVector();
                        vector.Add(source.Slice(16 << 10, 4096));
                        vector.Add(source.Slice(40 << 10, 24 << 10));
                        file.WriteVector(24 << 10, vector, Then(() =>
                        {
                            vector.Dispose();
                            file.DataSync(Then(() => file.Read(8192, target.Slice(0, 44 << 10), Then(fixture.Finished.Set))));
                        }), durable: true);
                    }), durable: true)));
                IoCompletion Then(Action next) => new CallbackCompletion((result, _) =>
                {
                    results.Add(result);
                    next();
                });
            });
            fixture.Await();
            Assert.Equal([0, 16 << 10, 28 << 10, 0, 44 << 10], results);
            Assert.True(target.Span[..(20 << 10)].SequenceEqual(source.Span[..(20 << 10)]));
            Assert.True(target.Span.Slice(20 << 10, 24 << 10).SequenceEqual(source.Span.Slice(40 << 10, 24 << 10)));
            Assert.Equal(1 << 20, file!.Length);
            fixture.Run(() =>
            {
                IoException e = Assert.Throws<IoException>(() => ReactorFile.Open(fixture.Loop, path, FileAccessFlags.Write | FileAccessFlags.Exclusive));
                Assert.Equal(IoError.TryAgain, e.Error.Errno);
                file.Dispose();
            });
            source.Release();
            target.Release();
            fixture.AssertNoBuffersOut();
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void ErrorsOfFilesReachTheCompletion()
    {
        using var fixture = new LoopFixture(_options);
        PageBuffer buffer = fixture.Pool.Rent(4096);
        int result = 0;
        fixture.Post(() => fixture.Loop.Read(9999, 0, buffer.Slice(0, 4096), new CallbackCompletion((r, _) =>
        {
            result = r;
            fixture.Finished.Set();
        })));
        fixture.Await();
        Assert.Equal("EBADF (9)", new IoError(-result).ToString());
        buffer.Release();
        fixture.AssertNoBuffersOut();
    }
}
