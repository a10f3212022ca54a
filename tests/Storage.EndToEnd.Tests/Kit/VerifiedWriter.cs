using System.Buffers.Binary;
using System.Diagnostics;

namespace Storage.EndToEnd.Tests.Kit;

/// <summary>Writes blocks of a volume through the NBD gateway, one at a time, from its start until it is ended; remembers what was answered and how long the slowest took.</summary>
public sealed class VerifiedWriter
{
    private const int BlockSize = 4096;
    private readonly int _port;
    private readonly string _volume;
    private readonly long[] _acknowledged;
    private readonly Task _writing;
    private volatile bool _mustEnd;
    private long _written;
    private long _longestTicks;

    public VerifiedWriter(int port, string volume, int blocks)
    {
        _port = port;
        _volume = volume;
        _acknowledged = new long[blocks];
        _writing = Task.Run(WriteAsync);
    }

    public long Written => Volatile.Read(ref _written);

    /// <summary>The longest operation since the last call, without one that is under way.</summary>
    public TimeSpan TakeLongest() => TimeSpan.FromTicks(Interlocked.Exchange(ref _longestTicks, 0));

    /// <summary>Ends the writing; throws what ended it before. Then reads every block back.</summary>
    public async Task EndAndVerifyAsync()
    {
        _mustEnd = true;
        await _writing;
        using NbdClient reader = await NbdClient.ConnectAsync(_port, _volume);
        for (int block = 0; block < _acknowledged.Length; block++)
        {
            byte[] expected = _acknowledged[block] == 0 ? new byte[BlockSize] : Pattern(block, _acknowledged[block]);
            byte[] data = await reader.ReadAsync((long)block * BlockSize, BlockSize);
            Assert.True(data.AsSpan().SequenceEqual(expected), $"block {block} is not version {_acknowledged[block]}, which was the last one answered");
        }
    }

    private async Task WriteAsync()
    {
        using NbdClient client = await NbdClient.ConnectAsync(_port, _volume);
        var random = new Random(17);
        for (long version = 1; !_mustEnd; version++)
        {
            int block = random.Next(_acknowledged.Length);
            long start = Stopwatch.GetTimestamp();
            await client.WriteAsync((long)block * BlockSize, Pattern(block, version));
            long ticks = Stopwatch.GetElapsedTime(start).Ticks;
            _acknowledged[block] = version;
            _written = version;
            if (ticks > Volatile.Read(ref _longestTicks))
            {
                Volatile.Write(ref _longestTicks, ticks);
            }
        }
    }

    private static byte[] Pattern(int block, long version)
    {
        byte[] data = new byte[BlockSize];
        for (int i = 0; i < data.Length; i += 16)
        {
            BinaryPrimitives.WriteInt64LittleEndian(data.AsSpan(i), version);
            BinaryPrimitives.WriteInt64LittleEndian(data.AsSpan(i + 8), block);
        }

        return data;
    }
}
