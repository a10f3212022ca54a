using Storage.Cluster;
using Storage.Reactor;

namespace Storage.ObjectStore.Offline;

/// <summary>Waiting for single operations, for tools; daemons use completions.</summary>
public static class StoreAwait
{
    /// <summary>Applies a transaction and waits until it is durable.</summary>
    /// <param name="store">The store.</param>
    /// <param name="transaction">What to do; the caller's again at once.</param>
    /// <returns>Completes on the loop.</returns>
    public static Task CommitAsync(this IObjectStore store, Transaction transaction)
    {
        ArgumentNullException.ThrowIfNull(store);
        var completion = new Completion();
        store.Submit(transaction, completion, 0);
        return completion.Committed;
    }

    /// <summary>Reads a range.</summary>
    /// <param name="store">The store.</param>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>How it went, and a segment whose buffer the caller releases.</returns>
    public static Task<(ReadStatus Status, BufferSegment Data)> ReadAsync(this IObjectStore store, CollectionId collection, ObjectId id, long offset, int length)
    {
        ArgumentNullException.ThrowIfNull(store);
        var completion = new Completion();
        store.Read(collection, id, offset, length, completion, 0);
        return completion.Read;
    }

    private sealed class Completion : IStoreCompletion, IReadCompletion
    {
        private readonly TaskCompletionSource _committed = new();
        private readonly TaskCompletionSource<(ReadStatus, BufferSegment)> _read = new();

        public Task Committed => _committed.Task;

        public Task<(ReadStatus Status, BufferSegment Data)> Read => _read.Task;

        public void OnCommitted(ulong token) => _committed.SetResult();

        public void OnRead(ulong token, ReadStatus status, BufferSegment data) => _read.SetResult((status, data));
    }
}
