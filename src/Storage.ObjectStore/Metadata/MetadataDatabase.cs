using System.Runtime.InteropServices;

namespace Storage.ObjectStore.Metadata;

/// <summary>
/// The metadata database: RocksDB with one column family and its log switched off. It changes only by whole checkpoints,
/// each one batch, flushed before it counts; one batch lands in one memtable, so a flush is all or nothing.
/// </summary>
internal sealed unsafe class MetadataDatabase : IDisposable
{
    private readonly nint _options;
    private readonly nint _cache;
    private readonly nint _env;
    private readonly nint _table;
    private readonly nint _readOptions;
    private readonly nint _writeOptions;
    private readonly nint _flushOptions;
    private nint _db;

    public MetadataDatabase(string path, bool create, long cacheBytes, bool compaction = true)
    {
        _options = RocksNative.OptionsCreate();
        RocksNative.OptionsSetCreateIfMissing(_options, create ? (byte)1 : (byte)0);
        RocksNative.OptionsSetErrorIfExists(_options, create ? (byte)1 : (byte)0);
        RocksNative.OptionsSetWriteBufferSize(_options, 256u << 20); // checkpoints flush; this only bounds a monster
        RocksNative.OptionsSetCompression(_options, 0);
        RocksNative.OptionsSetMaxOpenFiles(_options, 512);
        RocksNative.OptionsSetKeepLogFiles(_options, 4);
        RocksNative.OptionsSetAtomicFlush(_options, 1);

        // Commits share the disk and the cores: flushes and compactions write past the page cache, in small steps, and step back.
        RocksNative.OptionsSetDirectWrites(_options, 1);
        RocksNative.OptionsSetBytesPerSync(_options, 1 << 20);
        RocksNative.OptionsSetStatisticsPeriod(_options, 0);
        _env = RocksNative.EnvCreate();
        RocksNative.EnvLowerPriority(_env);
        RocksNative.OptionsSetEnv(_options, _env);
        RocksNative.OptionsSetDisableAutoCompactions(_options, compaction ? 0 : 1);
        _cache = RocksNative.CacheCreate((nuint)cacheBytes);
        _table = RocksNative.TableCreate();
        RocksNative.TableSetCache(_table, _cache);
        RocksNative.TableSetCacheIndexes(_table, 1); // else they lie outside of every budget
        RocksNative.TablePinLevel0(_table, 1);
        RocksNative.TableSetFilter(_table, RocksNative.BloomCreate(10));
        RocksNative.OptionsSetTable(_options, _table);
        _readOptions = RocksNative.ReadOptionsCreate();
        _writeOptions = RocksNative.WriteOptionsCreate();
        RocksNative.WriteOptionsDisableWal(_writeOptions, 1);
        _flushOptions = RocksNative.FlushOptionsCreate();
        RocksNative.FlushOptionsSetWait(_flushOptions, 1);
        byte* error = null;
        _db = RocksNative.Open(_options, path, &error);
        Check(error, $"cannot open the metadata database {path}");
    }

    /// <summary>Reads one value; null if there is none.</summary>
    public byte[]? Get(ReadOnlySpan<byte> key)
    {
        byte* error = null;
        nint slice;
        fixed (byte* k = key)
        {
            slice = RocksNative.GetPinned(_db, _readOptions, k, (nuint)key.Length, &error);
        }

        Check(error, "metadata read");
        if (slice == 0)
        {
            return null;
        }

        nuint length;
        byte* value = RocksNative.PinnedValue(slice, &length);
        byte[]? result = value is null ? null : new ReadOnlySpan<byte>(value, checked((int)length)).ToArray();
        RocksNative.PinnedDestroy(slice);
        return result;
    }

    /// <summary>Bytes the block cache holds.</summary>
    public long CacheUsage => (long)RocksNative.CacheGetUsage(_cache);

    /// <summary>Changes the size of the block cache.</summary>
    public void SetCacheCapacity(long bytes) => RocksNative.CacheSetCapacity(_cache, (nuint)bytes);

    public MetadataIterator Iterate() => new(RocksNative.IteratorCreate(_db, _readOptions));

    /// <summary>Writes a batch and returns when it is on stable storage. For the checkpoint thread.</summary>
    public void WriteAndFlush(MetadataBatch batch)
    {
        byte* error = null;
        RocksNative.Write(_db, _writeOptions, batch.Handle, &error);
        Check(error, "metadata write");
        RocksNative.Flush(_db, _flushOptions, &error);
        Check(error, "metadata flush");
    }

    public void Dispose()
    {
        if (_db != 0)
        {
            RocksNative.Close(_db);
            _db = 0;
            RocksNative.ReadOptionsDestroy(_readOptions);
            RocksNative.WriteOptionsDestroy(_writeOptions);
            RocksNative.FlushOptionsDestroy(_flushOptions);
            RocksNative.OptionsDestroy(_options);
            RocksNative.TableDestroy(_table);
            RocksNative.CacheDestroy(_cache);
            RocksNative.EnvDestroy(_env);
        }
    }

    internal static void Check(byte* error, string what)
    {
        if (error is not null)
        {
            string message = Marshal.PtrToStringUTF8((nint)error) ?? "unknown";
            RocksNative.Free(error);
            throw new IOException($"{what}: {message}");
        }
    }
}

/// <summary>Walks keys in bytewise order, as of its creation.</summary>
internal sealed unsafe class MetadataIterator(nint handle) : IDisposable
{
    private nint _handle = handle;

    public bool IsValid => RocksNative.IteratorValid(_handle) != 0;

    /// <summary>The key; valid until the next move.</summary>
    public ReadOnlySpan<byte> Key
    {
        get
        {
            nuint length;
            byte* key = RocksNative.IteratorKey(_handle, &length);
            return new ReadOnlySpan<byte>(key, (int)length);
        }
    }

    /// <summary>The value; valid until the next move.</summary>
    public ReadOnlySpan<byte> Value
    {
        get
        {
            nuint length;
            byte* value = RocksNative.IteratorValue(_handle, &length);
            return new ReadOnlySpan<byte>(value, (int)length);
        }
    }

    public void Seek(ReadOnlySpan<byte> key)
    {
        fixed (byte* k = key)
        {
            RocksNative.IteratorSeek(_handle, k, (nuint)key.Length);
        }

        CheckError();
    }

    public void SeekForPrevious(ReadOnlySpan<byte> key)
    {
        fixed (byte* k = key)
        {
            RocksNative.IteratorSeekForPrevious(_handle, k, (nuint)key.Length);
        }

        CheckError();
    }

    public void Next()
    {
        RocksNative.IteratorNext(_handle);
        CheckError();
    }

    public void Dispose()
    {
        if (_handle != 0)
        {
            RocksNative.IteratorDestroy(_handle);
            _handle = 0;
        }
    }

    private void CheckError()
    {
        if (!IsValid)
        {
            byte* error = null;
            RocksNative.IteratorError(_handle, &error);
            MetadataDatabase.Check(error, "metadata iteration");
        }
    }
}

/// <summary>Changes that reach the database together.</summary>
internal sealed unsafe class MetadataBatch : IDisposable
{
    public nint Handle { get; private set; } = RocksNative.BatchCreate();

    public void Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
    {
        fixed (byte* k = key)
        fixed (byte* v = value)
        {
            RocksNative.BatchPut(Handle, k, (nuint)key.Length, v, (nuint)value.Length);
        }
    }

    public void Delete(ReadOnlySpan<byte> key)
    {
        fixed (byte* k = key)
        {
            RocksNative.BatchDelete(Handle, k, (nuint)key.Length);
        }
    }

    public void DeleteRange(ReadOnlySpan<byte> from, ReadOnlySpan<byte> to)
    {
        fixed (byte* f = from)
        fixed (byte* t = to)
        {
            RocksNative.BatchDeleteRange(Handle, f, (nuint)from.Length, t, (nuint)to.Length);
        }
    }

    public void Dispose()
    {
        if (Handle != 0)
        {
            RocksNative.BatchDestroy(Handle);
            Handle = 0;
        }
    }
}
