using Storage.Cluster;
using Storage.Messaging;

namespace Storage.Client;

/// <summary>
/// Reads and writes objects, wherever the map says they live. Operations wait while their PG cannot serve them: there is no
/// timeout but the caller's cancellation. Operations on one object are carried out in the order they were issued, each once.
/// </summary>
/// <remarks>
/// <see cref="ObjectClient"/> is to be called on its loop and continues there, inline; <see cref="LoopObjectClient"/> may be called from
/// any thread.
/// </remarks>
public interface IObjectClient
{
    /// <summary>The newest map, or null before the first one came.</summary>
    ClusterMap? Map { get; }

    /// <summary>Identifies this client to OSDs and in the blocklist.</summary>
    ulong ClientId { get; }

    /// <summary>Waits for a map.</summary>
    /// <param name="atLeast">Its epoch or a later one; <see cref="Epoch.None"/> takes the first that comes.</param>
    /// <param name="cancellation">Ends the waiting.</param>
    /// <returns>The newest map.</returns>
    ValueTask<ClusterMap> WaitForMapAsync(Epoch atLeast, CancellationToken cancellation = default);

    /// <summary>Waits for a map that holds every change which was committed before the call: the first map that a client gets may be older. For
    /// whoever is about to say that something does not exist. Waits while the monitors have no quorum.</summary>
    /// <param name="cancellation">Ends the waiting.</param>
    /// <returns>The newest map.</returns>
    ValueTask<ClusterMap> ConfirmMapAsync(CancellationToken cancellation = default);

    /// <summary>Carries out an operation on one object: all its steps or none.</summary>
    /// <param name="pool">The pool's id.</param>
    /// <param name="objectName">The object's name, 1 to <see cref="ObjectId.LongestName"/> bytes of UTF-8.</param>
    /// <param name="operation">At least one step. The caller's again, to be cleared or changed, when the task completes.</param>
    /// <param name="context">Snapshots, and how to treat the operation.</param>
    /// <param name="cancellation">Gives up; whether a write happened is then unknown.</param>
    /// <returns>The outcome, which the caller disposes of. What the cluster refuses is a result, not an exception;
    /// <see cref="ResultCode.Blocklisted"/> is final for this client, or for the lock's owner that the context names.</returns>
    /// <exception cref="ArgumentException">The name is empty or too long, or the operation is empty.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The client was closed.</exception>
    ValueTask<OperationResult> ExecuteAsync(long pool, string objectName, ObjectOperation operation, OperationContext context, CancellationToken cancellation = default);

    /// <summary>Lists live objects of one PG.</summary>
    /// <param name="pool">The pool's id.</param>
    /// <param name="groupSeed">The PG's number in the pool, below its pg_num.</param>
    /// <param name="after">The last object of the page before, or null to start.</param>
    /// <param name="limit">The most objects wanted, 1 and up.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>Objects in <see cref="ObjectId"/> order.</returns>
    /// <exception cref="ObjectOperationException">The pool or PG does not exist, or the PG's answer was a refusal.</exception>
    ValueTask<ObjectListing> ListObjectsAsync(long pool, uint groupSeed, ObjectId? after, int limit, CancellationToken cancellation = default);
}

/// <summary>What most callers want.</summary>
public static class ObjectClientExtensions
{
    /// <summary>Carries out an operation on the live object, outside of snapshots.</summary>
    /// <param name="client">The client.</param>
    /// <param name="pool">The pool's id.</param>
    /// <param name="objectName">The object's name.</param>
    /// <param name="operation">The steps; the caller's again when the task completes.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The outcome; see <see cref="IObjectClient.ExecuteAsync"/>.</returns>
    public static ValueTask<OperationResult> ExecuteAsync(this IObjectClient client, long pool, string objectName, ObjectOperation operation, CancellationToken cancellation = default) =>
        client.ExecuteAsync(pool, objectName, operation, default, cancellation);

    /// <summary>Goes through all live objects of a pool, PG by PG.</summary>
    /// <param name="client">The client.</param>
    /// <param name="pool">The pool's id.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The objects; those created or removed meanwhile may or may not be among them.</returns>
    public static async IAsyncEnumerable<ObjectId> EnumerateObjectsAsync(this IObjectClient client, long pool, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellation = default)
    {
        const int Page = 1000;
        ClusterMap map = await client.WaitForMapAsync(Epoch.None, cancellation);
        PoolInfo info = map.FindPool(pool) ?? (await client.ConfirmMapAsync(cancellation)).FindPool(pool) ?? throw new ObjectOperationException(ResultCode.NoSuchPool, $"no pool with id {pool}");
        for (uint seed = 0; seed < info.PgCount; seed++)
        {
            ObjectId? last = null;
            ObjectListing listing;
            do
            {
                listing = await client.ListObjectsAsync(pool, seed, last, Page, cancellation);
                foreach (ObjectId id in listing.Objects)
                {
                    yield return id;
                    last = id;
                }
            }
            while (listing.More);
        }
    }
}

/// <summary>A page of a PG's objects.</summary>
/// <param name="Objects">In <see cref="ObjectId"/> order.</param>
/// <param name="More">Whether there may be more after the last of these.</param>
public sealed record ObjectListing(IReadOnlyList<ObjectId> Objects, bool More);
