using System.Text;

namespace Storage.Tests.Kit;

/// <summary>One object of a <see cref="MemoryObjectClient"/>: sparse data in 4 KiB blocks, attributes, omap.</summary>
public sealed class MemoryObject
{
    public const int BlockSize = 4096;

    public SortedDictionary<long, byte[]> Blocks { get; } = [];

    public long Size { get; set; }

    public ulong Version { get; set; }

    public Dictionary<string, byte[]> Attributes { get; } = new(StringComparer.Ordinal);

    public SortedDictionary<byte[], byte[]> Omap { get; } = new(ByteOrder.Instance);

    public MemoryObject Clone()
    {
        var copy = new MemoryObject { Size = Size, Version = Version };
        foreach ((long index, byte[] block) in Blocks)
        {
            copy.Blocks[index] = (byte[])block.Clone();
        }

        foreach ((string name, byte[] value) in Attributes)
        {
            copy.Attributes[name] = value;
        }

        foreach ((byte[] key, byte[] value) in Omap)
        {
            copy.Omap[key] = value;
        }

        return copy;
    }

    public void Write(long offset, ReadOnlySpan<byte> data)
    {
        Size = Math.Max(Size, offset + data.Length);
        while (!data.IsEmpty)
        {
            long index = offset / BlockSize;
            int within = (int)(offset % BlockSize);
            int count = Math.Min(data.Length, BlockSize - within);
            if (!Blocks.TryGetValue(index, out byte[]? block))
            {
                Blocks[index] = block = new byte[BlockSize];
            }

            data[..count].CopyTo(block.AsSpan(within));
            data = data[count..];
            offset += count;
        }
    }

    public int Read(long offset, Span<byte> destination)
    {
        int length = (int)Math.Clamp(Size - offset, 0, destination.Length);
        Span<byte> rest = destination[..length];
        while (!rest.IsEmpty)
        {
            int within = (int)(offset % BlockSize);
            int count = Math.Min(rest.Length, BlockSize - within);
            if (Blocks.TryGetValue(offset / BlockSize, out byte[]? block))
            {
                block.AsSpan(within, count).CopyTo(rest);
            }
            else
            {
                rest[..count].Clear();
            }

            rest = rest[count..];
            offset += count;
        }

        return length;
    }

    public void Zero(long offset, long length)
    {
        long end = Math.Min(Size, offset + length);
        while (offset < end)
        {
            long index = offset / BlockSize;
            int within = (int)(offset % BlockSize);
            int count = (int)Math.Min(end - offset, BlockSize - within);
            if (count == BlockSize || (within == 0 && offset + count == Size))
            {
                Blocks.Remove(index);
            }
            else if (Blocks.TryGetValue(index, out byte[]? block))
            {
                block.AsSpan(within, count).Clear();
            }

            offset += count;
        }
    }

    public void Truncate(long size)
    {
        if (size < Size)
        {
            Zero(size, Size - size);
        }

        Size = size;
    }

    public IEnumerable<(long Offset, long Length)> Extents(long offset, long length)
    {
        long end = Math.Min(Size, offset + length);
        long start = -1;
        long upTo = -1;
        foreach (long index in Blocks.Keys)
        {
            long from = Math.Max(offset, index * BlockSize);
            long to = Math.Min(end, (index + 1) * BlockSize);
            if (from >= to)
            {
                continue;
            }

            if (from == upTo)
            {
                upTo = to;
                continue;
            }

            if (start >= 0)
            {
                yield return (start, upTo - start);
            }

            (start, upTo) = (from, to);
        }

        if (start >= 0)
        {
            yield return (start, upTo - start);
        }
    }

    public override string ToString() => $"{Size} bytes, {Attributes.Count} attributes, omap: {string.Join(", ", Omap.Keys.Select(Encoding.UTF8.GetString))}";

    private sealed class ByteOrder : IComparer<byte[]>
    {
        public static ByteOrder Instance { get; } = new();

        public int Compare(byte[]? x, byte[]? y) => x.AsSpan().SequenceCompareTo(y);
    }
}
