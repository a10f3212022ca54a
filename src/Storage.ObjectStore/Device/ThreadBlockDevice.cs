using System.Collections.Concurrent;
using Storage.Reactor;

namespace Storage.ObjectStore.Device;

/// <summary>A block file with blocking I/O on a few threads of its own: works on any loop, and where io_uring is forbidden.</summary>
public sealed class ThreadBlockDevice : IBlockDevice
{
    private readonly IEventLoop _loop;
    private readonly BlockFile _file;
    private readonly BlockingCollection<Request> _requests = [];
    private readonly Thread[] _threads;

    /// <summary>Opens a file or device.</summary>
    /// <param name="loop">The loop it completes on.</param>
    /// <param name="path">The path.</param>
    /// <param name="threads">Operations that run at the same time.</param>
    public ThreadBlockDevice(IEventLoop loop, string path, int threads = 4)
    {
        _loop = loop;
        _file = BlockFile.Open(path);
        _threads = new Thread[threads];
        for (int i = 0; i < threads; i++)
        {
            _threads[i] = new Thread(Work) { IsBackground = true, Name = $"block-io-{i}" };
            _threads[i].Start();
        }
    }

    private enum Kind : byte
    {
        Read,
        Write,
        DurableWrite,
        Flush,
        Discard,
    }

    /// <inheritdoc/>
    public long Length => _file.Length;

    /// <inheritdoc/>
    public void Read(long offset, BufferSegment destination, BlockCompletion completion) => Add(Kind.Read, offset, destination, completion);

    /// <inheritdoc/>
    public void Write(long offset, BufferSegment source, bool durable, BlockCompletion completion) =>
        Add(durable ? Kind.DurableWrite : Kind.Write, offset, source, completion);

    /// <inheritdoc/>
    public void Flush(BlockCompletion completion) => Add(Kind.Flush, 0, default, completion);

    /// <inheritdoc/>
    public void Discard(long offset, long length, BlockCompletion completion) => _requests.Add(new Request(Kind.Discard, offset, default, completion) { Length = length });

    /// <inheritdoc/>
    public void Dispose()
    {
        _requests.CompleteAdding();
        foreach (Thread thread in _threads)
        {
            thread.Join();
        }

        _requests.Dispose();
        _file.Dispose();
    }

    private void Add(Kind kind, long offset, BufferSegment data, BlockCompletion completion)
    {
        data.Buffer?.Retain();
        _requests.Add(new Request(kind, offset, data, completion));
    }

    private void Work()
    {
        foreach (Request request in _requests.GetConsumingEnumerable())
        {
            request.Result = request.Kind switch
            {
                Kind.Read => _file.Read(request.Offset, request.Data),
                Kind.Flush => _file.Flush(),
                Kind.Discard => _file.Discard(request.Offset, request.Length),
                _ => _file.Write(request.Offset, request.Data, request.Kind == Kind.DurableWrite),
            };
            request.Data.Buffer?.Release();
            _loop.Post(static state => ((Request)state!).Complete(), request);
        }
    }

    private sealed class Request(Kind kind, long offset, BufferSegment data, BlockCompletion completion)
    {
        public Kind Kind { get; } = kind;

        public long Offset { get; } = offset;

        public BufferSegment Data { get; } = data;

        public long Length { get; init; }

        public int Result { get; set; }

        public void Complete() => completion.OnDone(Result);
    }
}
