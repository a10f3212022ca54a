using System.Buffers.Binary;
using System.Text.Json;
using Storage.EndToEnd.Tests.Kit;

namespace Storage.EndToEnd.Tests;

[Collection(ClusterCollection.Name)]
public sealed class CrashTests(ClusterFixture cluster)
{
    private const int BlockSize = 4096;
    private const int Blocks = 2048;

    /// <summary>
    /// Each block carries its index and a version, all over. A version that was flushed must be there after the crash, or a later
    /// one that was at least sent; never an older one and never a mix.
    /// </summary>
    [Fact]
    public async Task AllDaemonsKilledDuringWritesLoseNothingThatWasFlushed()
    {
        await cluster.WholeAsync();
        string volume = await cluster.VolumeAsync($"{Blocks * BlockSize}B");
        long[] sent = new long[Blocks];
        long[] acknowledged = new long[Blocks];
        long[] flushed = new long[Blocks];
        var enough = new TaskCompletionSource();
        Task writer = Task.Run(async () =>
        {
            using NbdClient client = await NbdClient.ConnectAsync(cluster.NbdPort, volume);
            var random = new Random(5);
            try
            {
                for (long version = 1; ; version++)
                {
                    int block = random.Next(Blocks);
                    sent[block] = version;
                    await client.WriteAsync((long)block * BlockSize, Pattern(block, version));
                    acknowledged[block] = version;
                    if (version % 16 == 0)
                    {
                        await client.FlushAsync();
                        acknowledged.CopyTo(flushed, 0);
                    }

                    if (version == 1000)
                    {
                        enough.SetResult();
                    }
                }
            }
            catch (IOException)
            {
                // The gateway was killed.
            }
        });
        await await Task.WhenAny(enough.Task, writer);
        Assert.True(enough.Task.IsCompletedSuccessfully, "the writer ended early");
        await cluster.KillAsync([.. await cluster.DaemonNamesAsync()]);
        await writer;
        await cluster.UpAsync();
        await cluster.WaitHealthyAsync();

        using NbdClient reader = await NbdClient.ConnectAsync(cluster.NbdPort, volume);
        Assert.Contains(flushed, version => version > 0);
        for (int block = 0; block < Blocks; block++)
        {
            byte[] data = await reader.ReadAsync((long)block * BlockSize, BlockSize);
            long version = BinaryPrimitives.ReadInt64LittleEndian(data);
            Assert.True(version >= flushed[block], $"block {block}: version {version} after {flushed[block]} was flushed");
            Assert.True(version <= sent[block], $"block {block}: version {version}, but only {sent[block]} was sent");
            Assert.True(data.AsSpan().SequenceEqual(version == 0 ? new byte[BlockSize] : Pattern(block, version)), $"block {block} is a mix at version {version}");
        }
    }

    [Fact]
    public async Task AFlippedBitOnDiskIsNeverReturnedAndHealthShowsIt()
    {
        await cluster.WholeAsync();
        string volume = await cluster.VolumeAsync("4MiB");
        byte[] data = new byte[1 << 20];
        new Random(6).NextBytes(data);
        using (NbdClient client = await NbdClient.ConnectAsync(cluster.NbdPort, volume))
        {
            await client.WriteAsync(0, data);
            await client.FlushAsync();
        }

        using JsonDocument info = await cluster.JsonAsync("volume", "info", volume);
        using JsonDocument stat = await cluster.JsonAsync("object", "stat", $"volume_data.{info.RootElement.GetProperty("id").GetString()}.{0:x16}", "--pool", "volumes");
        string victim = $"osd.{stat.RootElement.GetProperty("primary").GetInt32()}";
        await cluster.StopAsync(victim);
        int flipped = await FlipAsync(Path.Combine(cluster.Data, victim, "block"), data.AsMemory(512 << 10, 64));
        Assert.True(flipped > 0, $"the data is not in {victim}'s block file");
        await cluster.StartAsync(victim);
        await cluster.WaitAsync($"{victim} as primary again", async () =>
        {
            using JsonDocument now = await cluster.JsonAsync("pg", "query", stat.RootElement.GetProperty("pgid").GetString()!);
            using JsonDocument osds = await cluster.JsonAsync("status");
            using JsonDocument place = await cluster.JsonAsync("pg", "ls", "--pool", "volumes");
            return place.RootElement.GetProperty("pgs").EnumerateArray().Any(pg =>
                pg.GetProperty("pgid").GetString() == stat.RootElement.GetProperty("pgid").GetString()
                && pg.GetProperty("state").GetString() == "active+clean"
                && $"osd.{pg.GetProperty("primary").GetInt32()}" == victim);
        });

        using (NbdClient client = await NbdClient.ConnectAsync(cluster.NbdPort, volume))
        {
            Assert.True((await client.ReadAsync(0, data.Length)).AsSpan().SequenceEqual(data), "the damaged copy was returned");
        }

        // The read had the copy replaced; a deep scrub of everything repairs the rest. That a disk needed so many repairs stays in sight until an
        // operator says that its cause is gone.
        long ordered = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        using (await cluster.JsonAsync("osd", "deep-scrub", "all"))
        {
        }

        await cluster.WaitAsync("a deep scrub of every PG", async () =>
        {
            using JsonDocument place = await cluster.JsonAsync("pg", "ls");
            return place.RootElement.GetProperty("pgs").EnumerateArray().All(pg =>
                pg.GetProperty("last_deep_scrub_unix_ms") is { } at
                && (at.ValueKind == JsonValueKind.String ? long.Parse(at.GetString()!, System.Globalization.CultureInfo.InvariantCulture) : at.GetInt64()) >= ordered - 1000
                && !pg.GetProperty("state").GetString()!.Contains("inconsistent", StringComparison.Ordinal));
        });
        await cluster.WaitAsync("nothing but repairs that were cleared", async () =>
        {
            (await cluster.StorageAsync("osd", "clear-errors", "0", "1", "2")).Expect();
            using JsonDocument health = await cluster.JsonAsync("status");
            return health.RootElement.GetProperty("health").GetString() == "HEALTH_OK";
        });
        await cluster.WaitHealthyAsync();
        using NbdClient again = await NbdClient.ConnectAsync(cluster.NbdPort, volume);
        Assert.True((await again.ReadAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    // No copy of the object is whole, on no disk; together they are.
    [Fact]
    public async Task WhatIsDamagedElsewhereOnEachOsdIsPutTogether()
    {
        await cluster.WholeAsync();
        string volume = await cluster.VolumeAsync("4MiB");
        byte[] data = new byte[1 << 20];
        new Random(7).NextBytes(data);
        using (NbdClient client = await NbdClient.ConnectAsync(cluster.NbdPort, volume))
        {
            await client.WriteAsync(0, data);
            await client.FlushAsync();
        }

        for (int osd = 0; osd < 3; osd++)
        {
            string victim = $"osd.{osd}";
            await cluster.StopAsync(victim);
            Assert.True(await FlipAsync(Path.Combine(cluster.Data, victim, "block"), data.AsMemory((osd + 1) * (256 << 10), 64)) > 0, $"the data is not in {victim}'s block file");
            await cluster.WholeAsync();
        }

        using (NbdClient client = await NbdClient.ConnectAsync(cluster.NbdPort, volume))
        {
            Assert.True((await client.ReadAsync(0, data.Length)).AsSpan().SequenceEqual(data), "the object was not put together");
        }

        await cluster.WholeAsync();
    }

    private static byte[] Pattern(int block, long version)
    {
        byte[] data = new byte[BlockSize];
        for (int i = 0; i < BlockSize; i += 16)
        {
            BinaryPrimitives.WriteInt64LittleEndian(data.AsSpan(i), version);
            BinaryPrimitives.WriteInt64LittleEndian(data.AsSpan(i + 8), ((long)block << 32) + i);
        }

        return data;
    }

    /// <summary>Flips one bit in every place of a file that starts with the given bytes, on 4 KiB boundaries.</summary>
    private static async Task<int> FlipAsync(string path, ReadOnlyMemory<byte> start)
    {
        await using var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        byte[] buffer = new byte[4 << 20];
        int flipped = 0;
        for (long at = 0; ;)
        {
            file.Position = at;
            int length = await file.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false);
            if (length == 0)
            {
                break;
            }

            for (int i = 0; i + start.Length <= length; i += BlockSize)
            {
                if (buffer.AsSpan(i, start.Length).SequenceEqual(start.Span))
                {
                    file.Position = at + i;
                    await file.WriteAsync(new[] { (byte)(buffer[i] ^ 0x10) });
                    flipped++;
                }
            }

            at += length;
        }

        file.Flush(flushToDisk: true);
        return flipped;
    }
}
