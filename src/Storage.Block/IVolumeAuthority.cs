using Storage.Cluster;

namespace Storage.Block;

/// <summary>The monitors' part in snapshots and locks. Requests may be repeated after a lost answer.</summary>
public interface IVolumeAuthority
{
    /// <summary>Gives out a snapshot id of a pool, above all that were given out before.</summary>
    /// <param name="pool">The pool's id.</param>
    /// <param name="request">A number drawn at random; the same one again gets the same id.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The id.</returns>
    ValueTask<ulong> CreateAsync(long pool, ulong request, CancellationToken cancellation);

    /// <summary>Moves the pool's snapshot barrier on.</summary>
    /// <param name="pool">The pool's id.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>Epoch of the map that has it.</returns>
    ValueTask<Epoch> PublishAsync(long pool, CancellationToken cancellation);

    /// <summary>Removes a snapshot, and moves the barrier on.</summary>
    /// <param name="pool">The pool's id.</param>
    /// <param name="snapshot">The id.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>When the map says so.</returns>
    ValueTask RemoveAsync(long pool, ulong snapshot, CancellationToken cancellation);

    /// <summary>Puts a lock's owner on the blocklist: no OSD that has the map lets it write any more. Waits for as long as monitors cannot be reached.</summary>
    /// <param name="lockOwner">The owner's number.</param>
    /// <param name="cancellation">Gives up; whether it is fenced is then unknown.</param>
    /// <returns>Epoch of a map that has it.</returns>
    ValueTask<Epoch> FenceAsync(ulong lockOwner, CancellationToken cancellation);
}
