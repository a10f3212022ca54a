using Storage.Rpc.Client;

namespace Storage.Rpc.Admin;

/// <summary>
/// Calls the admin API of any monitor. A call goes on to the next monitor when one is UNAVAILABLE, or when the connection breaks; changes
/// carry an id by which the monitors know them again, so that they are carried out once. Failures are <see cref="RpcException"/>; one that is
/// UNAVAILABLE or DEADLINE_EXCEEDED leaves open whether the change was made.
/// </summary>
/// <param name="channel">The monitors' admin addresses; the caller disposes it.</param>
/// <param name="timeout">Time for each unary call; null means 30 s.</param>
public sealed partial class AdminClient(RpcChannel channel, TimeSpan? timeout = null)
{
    private readonly RpcCallOptions _once = new() { Timeout = timeout ?? TimeSpan.FromSeconds(30) };

    private RpcCallOptions Named
    {
        get
        {
            var headers = new RpcMetadata();
            headers.Add(AdminRequest.IdHeader, Guid.NewGuid().ToByteArray());
            return _once with { Idempotent = true, Headers = headers };
        }
    }

    /// <summary>Whether the monitor that is asked first is in touch with a leader.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ReadyReply> ReadyAsync(ReadyRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.Ready, request, _once, cancellation);

    /// <summary>Summary of the whole cluster.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<StatusReply> StatusAsync(StatusRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.Status, request, Named, cancellation);

    /// <summary>Health status and checks.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<HealthReply> HealthAsync(HealthRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.Health, request, Named, cancellation);

    /// <summary>State of each monitor.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<MonStatusReply> MonStatusAsync(MonStatusRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.MonStatus, request, Named, cancellation);

    /// <summary>The last entries of the cluster log.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<LogLastReply> LogLastAsync(LogLastRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.LogLast, request, Named, cancellation);

    /// <summary>The CRUSH hierarchy with the OSDs' states.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<OsdTreeReply> OsdTreeAsync(OsdTreeRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.OsdTree, request, Named, cancellation);

    /// <summary>Each OSD's entry in the map, with usage.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<OsdDumpReply> OsdDumpAsync(OsdDumpRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.OsdDump, request, Named, cancellation);

    /// <summary>Takes OSDs out of data placement.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<OsdIdsReply> OsdOutAsync(OsdIdsRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.OsdOut, request, Named, cancellation);

    /// <summary>Puts OSDs back into data placement.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<OsdIdsReply> OsdInAsync(OsdIdsRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.OsdIn, request, Named, cancellation);

    /// <summary>Marks OSDs down; one that lives comes up again.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<OsdIdsReply> OsdDownAsync(OsdIdsRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.OsdDown, request, Named, cancellation);

    /// <summary>Sets an OSD's reweight or CRUSH weight.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> OsdReweightAsync(OsdReweightRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.OsdReweight, request, Named, cancellation);

    /// <summary>Gives an OSD's data up for good.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> OsdLostAsync(OsdLostRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.OsdLost, request, Named, cancellation);

    /// <summary>Allocates an OSD id; the same UUID gets the same id.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<OsdCreateReply> OsdCreateAsync(OsdCreateRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.OsdCreate, request, Named, cancellation);

    /// <summary>Sets a flag of the map, such as noout.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> OsdSetFlagAsync(OsdFlagRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.OsdSetFlag, request, Named, cancellation);

    /// <summary>Clears a flag of the map.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> OsdUnsetFlagAsync(OsdFlagRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.OsdUnsetFlag, request, Named, cancellation);

    /// <summary>Creates a pool.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<PoolCreateReply> PoolCreateAsync(PoolCreateRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.PoolCreate, request, Named, cancellation);

    /// <summary>Removes a pool and its data.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> PoolRemoveAsync(PoolRemoveRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.PoolRemove, request, Named, cancellation);

    /// <summary>Pools with settings and usage.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<PoolListReply> PoolListAsync(PoolListRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.PoolList, request, Named, cancellation);

    /// <summary>Changes one setting of a pool.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> PoolSetAsync(PoolSetRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.PoolSet, request, Named, cancellation);

    /// <summary>Gives out a snapshot id.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<PoolSnapshotCreateReply> PoolSnapshotCreateAsync(PoolSnapshotCreateRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.PoolSnapshotCreate, request, Named, cancellation);

    /// <summary>Moves a pool's snapshot barrier on.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> PoolSnapshotPublishAsync(PoolSnapshotPublishRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.PoolSnapshotPublish, request, Named, cancellation);

    /// <summary>Removes snapshots.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> PoolSnapshotRemoveAsync(PoolSnapshotRemoveRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.PoolSnapshotRemove, request, Named, cancellation);

    /// <summary>Placement groups by pool, OSD or state.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<PgListReply> PgListAsync(PgListRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.PgList, request, Named, cancellation);

    /// <summary>Everything about one placement group, as JSON.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<PgQueryReply> PgQueryAsync(PgQueryRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.PgQuery, request, Named, cancellation);

    /// <summary>Orders scrubs of PGs; they begin when the PGs are clean and their OSDs have a place.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<PgScrubReply> PgScrubAsync(PgScrubRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.PgScrub, request, Named, cancellation);

    /// <summary>The objects of a PG that scrub found wrong, as JSON.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<PgQueryReply> PgListInconsistentAsync(PgQueryRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.PgListInconsistent, request, Named, cancellation);

    /// <summary>Gives unfound objects up.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> PgMarkUnfoundLostAsync(PgMarkUnfoundLostRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.PgMarkUnfoundLost, request, _once, cancellation);

    /// <summary>Read errors of OSDs count from now on.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<OsdIdsReply> OsdClearErrorsAsync(OsdIdsRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.OsdClearErrors, request, Named, cancellation);

    /// <summary>The cluster map of an epoch.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<MapGetReply> MapGetAsync(MapGetRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.MapGet, request, Named, cancellation);

    /// <summary>The CRUSH map in its text form.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<CrushGetReply> CrushGetAsync(CrushGetRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.CrushGet, request, Named, cancellation);

    /// <summary>Replaces the CRUSH map.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> CrushSetAsync(CrushSetRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.CrushSet, request, Named, cancellation);

    /// <summary>Settings kept in the map.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ConfigGetReply> ConfigGetAsync(ConfigGetRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.ConfigGet, request, Named, cancellation);

    /// <summary>Sets or removes a setting.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> ConfigSetAsync(ConfigSetRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.ConfigSet, request, Named, cancellation);

    /// <summary>Fences a client session off.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> BlocklistAddAsync(BlocklistAddRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.BlocklistAdd, request, Named, cancellation);

    /// <summary>Lifts the fence of a client session.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> BlocklistRemoveAsync(BlocklistRemoveRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.BlocklistRemove, request, Named, cancellation);

    /// <summary>The fenced client sessions.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<BlocklistListReply> BlocklistListAsync(BlocklistListRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.BlocklistList, request, Named, cancellation);

    /// <summary>Events of the cluster as they happen; ends with an <see cref="RpcException"/> when the monitor goes away.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public IAsyncEnumerable<Event> WatchAsync(WatchRequest request, CancellationToken cancellation = default) =>
        channel.ServerStreamingAsync(AdminMethods.Watch, request, default, cancellation);
}
