using BenchmarkDotNet.Attributes;
using Storage.Cluster;
using Storage.Coding;
using Storage.Crush;
using Storage.Crush.Editing;
using Storage.Messaging;
using Storage.Messaging.Tcp;
using Storage.ObjectStore;
using Storage.ObjectStore.Disk;
using Storage.Osd;

namespace Storage.Kernels.Bench;

/// <summary>CRC-32C of a block, of a large write's unit, of a large message.</summary>
[MemoryDiagnoser]
public class Checksums
{
    private byte[] _data = [];

    /// <summary>Bytes.</summary>
    [Params(64, 4096, 1 << 20)]
    public int Length { get; set; }

    /// <summary>Fills the data.</summary>
    [GlobalSetup]
    public void Setup() => new Random(1).NextBytes(_data = new byte[Length]);

    /// <summary>One checksum.</summary>
    [Benchmark]
    public uint Compute() => Crc32C.Compute(_data);
}

/// <summary>A frame's header with its own checksum, both ways.</summary>
[MemoryDiagnoser]
public class Frames
{
    private readonly byte[] _bytes = new byte[FrameHeader.Size];
    private readonly FrameHeader _header = new((ushort)MessageType.Operation, 150, 4096, 77, 1, 2);

    /// <summary>Writes a valid one.</summary>
    [GlobalSetup]
    public void Setup() => _header.Write(_bytes);

    /// <summary>Header to bytes.</summary>
    [Benchmark]
    public void Encode() => _header.Write(_bytes);

    /// <summary>Bytes to header, checked.</summary>
    [Benchmark]
    public FrameStatus Decode() => FrameHeader.TryRead(_bytes, out _, out _);
}

/// <summary>CRUSH: three copies on different hosts.</summary>
[MemoryDiagnoser]
public class Placements
{
    private readonly int[] _result = new int[3];
    private CrushMap _map = null!;
    private uint[] _weights = [];
    private uint _next;

    /// <summary>OSDs, twenty to a host.</summary>
    [Params(60, 10_000)]
    public int Osds { get; set; }

    /// <summary>Builds the map.</summary>
    [GlobalSetup]
    public void Setup()
    {
        var builder = new CrushMapBuilder(CrushMap.CreateDefault("host"));
        for (int i = 0; i < Osds; i++)
        {
            builder.PlaceDevice(i, $"osd.{i}", 1, null, [("root", "default"), ("rack", $"rack{i / 200}"), ("host", $"host{i / 20}")]);
        }

        _map = builder.Build();
        _weights = [.. Enumerable.Repeat(0x10000u, Osds)];
    }

    /// <summary>One mapping.</summary>
    [Benchmark]
    public int Map() => _map.Map(0, _next++, _result, _weights);
}

/// <summary>A write's record in the PG log: packed, put into a transaction, added to the log of its collection, and trimmed in time.</summary>
[MemoryDiagnoser]
public class PgLogs
{
    private static readonly CollectionId s_group = new(new PgId(1, 0));
    private readonly WireWriter _record = new(512);
    private readonly Transaction _transaction = new();
    private readonly CollectionLog _log = new();
    private readonly PgLogEntry _entry = new(
        new PgVersion(new Epoch(7), 4711), new PgVersion(new Epoch(7), 4710), new ObjectId("volume_data.0123456789abcdef.0000000000000042", 0x12345678),
        LogEntryKind.Modify, new OperationId(1, 2), [], []);

    /// <summary>One record.</summary>
    [Benchmark]
    public long Append()
    {
        _record.Clear();
        PgLogRecord.WriteEntry(_record, _entry, new PgVersion(new Epoch(7), 3000), 1000, 4_000_000_000);
        _transaction.AppendLog(s_group, _record.WrittenMemory);
        _log.Append(_transaction.Steps[0].Value.Span, Storage.Reactor.BufferPool.Shared);
        _transaction.Clear();
        if (_log.Next - _log.First > 3256)
        {
            _log.Trim(_log.First + 256, static (_, _) => { });
        }

        return _log.Next;
    }
}

/// <summary>Space on a disk of 1 TiB, half of it in use.</summary>
[MemoryDiagnoser]
public class Space
{
    private SpaceMap _map = null!;

    /// <summary>Uses every other run of 64 units.</summary>
    [GlobalSetup]
    public void Setup()
    {
        _map = new SpaceMap(1 << 28);
        for (uint unit = 1; unit < _map.Units - 64; unit += 128)
        {
            for (uint i = 0; i < 64; i++)
            {
                _map.AddReference(unit + i);
            }
        }
    }

    /// <summary>Takes a run of 16 units and gives it back.</summary>
    [Benchmark]
    public uint AllocateAndFree()
    {
        uint got = _map.Allocate(16, out uint start);
        for (uint i = 0; i < got; i++)
        {
            _map.Free(start + i);
        }

        return start;
    }
}
