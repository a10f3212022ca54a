namespace Storage.Rpc.Admin;

/// <summary>The methods of the admin API, storage.admin.v1.Monitor (Protos/admin.proto).</summary>
public static partial class AdminMethods
{
    /// <summary>Full name of the service.</summary>
    public const string Service = "storage.admin.v1.Monitor";

    /// <summary>Whether this monitor is in touch with a leader; answered at once.</summary>
    public static Method<ReadyRequest, ReadyReply> Ready { get; } = Unary("Ready", ReadyRequest.Parser, ReadyReply.Parser);

    /// <summary>Summary of the whole cluster.</summary>
    public static Method<StatusRequest, StatusReply> Status { get; } = Unary("Status", StatusRequest.Parser, StatusReply.Parser);

    /// <summary>Health status and checks.</summary>
    public static Method<HealthRequest, HealthReply> Health { get; } = Unary("Health", HealthRequest.Parser, HealthReply.Parser);

    /// <summary>State of each monitor.</summary>
    public static Method<MonStatusRequest, MonStatusReply> MonStatus { get; } = Unary("MonStatus", MonStatusRequest.Parser, MonStatusReply.Parser);

    /// <summary>The last entries of the cluster log.</summary>
    public static Method<LogLastRequest, LogLastReply> LogLast { get; } = Unary("LogLast", LogLastRequest.Parser, LogLastReply.Parser);

    /// <summary>The CRUSH hierarchy with the OSDs' states.</summary>
    public static Method<OsdTreeRequest, OsdTreeReply> OsdTree { get; } = Unary("OsdTree", OsdTreeRequest.Parser, OsdTreeReply.Parser);

    /// <summary>Each OSD's entry in the map, with usage.</summary>
    public static Method<OsdDumpRequest, OsdDumpReply> OsdDump { get; } = Unary("OsdDump", OsdDumpRequest.Parser, OsdDumpReply.Parser);

    /// <summary>Takes OSDs out of data placement.</summary>
    public static Method<OsdIdsRequest, OsdIdsReply> OsdOut { get; } = Unary("OsdOut", OsdIdsRequest.Parser, OsdIdsReply.Parser);

    /// <summary>Puts OSDs back into data placement.</summary>
    public static Method<OsdIdsRequest, OsdIdsReply> OsdIn { get; } = Unary("OsdIn", OsdIdsRequest.Parser, OsdIdsReply.Parser);

    /// <summary>Marks OSDs down; one that lives comes up again.</summary>
    public static Method<OsdIdsRequest, OsdIdsReply> OsdDown { get; } = Unary("OsdDown", OsdIdsRequest.Parser, OsdIdsReply.Parser);

    /// <summary>Sets an OSD's reweight or CRUSH weight.</summary>
    public static Method<OsdReweightRequest, ChangeReply> OsdReweight { get; } = Unary("OsdReweight", OsdReweightRequest.Parser, ChangeReply.Parser);

    /// <summary>Gives an OSD's data up for good.</summary>
    public static Method<OsdLostRequest, ChangeReply> OsdLost { get; } = Unary("OsdLost", OsdLostRequest.Parser, ChangeReply.Parser);

    /// <summary>Allocates an OSD id; the same UUID gets the same id.</summary>
    public static Method<OsdCreateRequest, OsdCreateReply> OsdCreate { get; } = Unary("OsdCreate", OsdCreateRequest.Parser, OsdCreateReply.Parser);

    /// <summary>Sets a flag of the map, such as noout.</summary>
    public static Method<OsdFlagRequest, ChangeReply> OsdSetFlag { get; } = Unary("OsdSetFlag", OsdFlagRequest.Parser, ChangeReply.Parser);

    /// <summary>Clears a flag of the map.</summary>
    public static Method<OsdFlagRequest, ChangeReply> OsdUnsetFlag { get; } = Unary("OsdUnsetFlag", OsdFlagRequest.Parser, ChangeReply.Parser);

    /// <summary>Creates a pool.</summary>
    public static Method<PoolCreateRequest, PoolCreateReply> PoolCreate { get; } = Unary("PoolCreate", PoolCreateRequest.Parser, PoolCreateReply.Parser);

    /// <summary>Removes a pool and its data.</summary>
    public static Method<PoolRemoveRequest, ChangeReply> PoolRemove { get; } = Unary("PoolRemove", PoolRemoveRequest.Parser, ChangeReply.Parser);

    /// <summary>Pools with settings and usage.</summary>
    public static Method<PoolListRequest, PoolListReply> PoolList { get; } = Unary("PoolList", PoolListRequest.Parser, PoolListReply.Parser);

    /// <summary>Changes one setting of a pool.</summary>
    public static Method<PoolSetRequest, ChangeReply> PoolSet { get; } = Unary("PoolSet", PoolSetRequest.Parser, ChangeReply.Parser);

    /// <summary>Gives out a snapshot id.</summary>
    public static Method<PoolSnapshotCreateRequest, PoolSnapshotCreateReply> PoolSnapshotCreate { get; } =
        Unary("PoolSnapshotCreate", PoolSnapshotCreateRequest.Parser, PoolSnapshotCreateReply.Parser);

    /// <summary>Moves a pool's snapshot barrier on.</summary>
    public static Method<PoolSnapshotPublishRequest, ChangeReply> PoolSnapshotPublish { get; } =
        Unary("PoolSnapshotPublish", PoolSnapshotPublishRequest.Parser, ChangeReply.Parser);

    /// <summary>Removes snapshots.</summary>
    public static Method<PoolSnapshotRemoveRequest, ChangeReply> PoolSnapshotRemove { get; } =
        Unary("PoolSnapshotRemove", PoolSnapshotRemoveRequest.Parser, ChangeReply.Parser);

    /// <summary>Placement groups by pool, OSD or state.</summary>
    public static Method<PgListRequest, PgListReply> PgList { get; } = Unary("PgList", PgListRequest.Parser, PgListReply.Parser);

    /// <summary>Everything about one placement group, as JSON.</summary>
    public static Method<PgQueryRequest, PgQueryReply> PgQuery { get; } = Unary("PgQuery", PgQueryRequest.Parser, PgQueryReply.Parser);

    /// <summary>Orders scrubs.</summary>
    public static Method<PgScrubRequest, PgScrubReply> PgScrub { get; } = Unary("PgScrub", PgScrubRequest.Parser, PgScrubReply.Parser);

    /// <summary>The objects of a PG that scrub found wrong, as JSON.</summary>
    public static Method<PgQueryRequest, PgQueryReply> PgListInconsistent { get; } = Unary("PgListInconsistent", PgQueryRequest.Parser, PgQueryReply.Parser);

    /// <summary>Gives unfound objects up.</summary>
    public static Method<PgMarkUnfoundLostRequest, ChangeReply> PgMarkUnfoundLost { get; } =
        Unary("PgMarkUnfoundLost", PgMarkUnfoundLostRequest.Parser, ChangeReply.Parser);

    /// <summary>Read errors count from now on.</summary>
    public static Method<OsdIdsRequest, OsdIdsReply> OsdClearErrors { get; } = Unary("OsdClearErrors", OsdIdsRequest.Parser, OsdIdsReply.Parser);

    /// <summary>The cluster map of an epoch.</summary>
    public static Method<MapGetRequest, MapGetReply> MapGet { get; } = Unary("MapGet", MapGetRequest.Parser, MapGetReply.Parser);

    /// <summary>The CRUSH map in its text form.</summary>
    public static Method<CrushGetRequest, CrushGetReply> CrushGet { get; } = Unary("CrushGet", CrushGetRequest.Parser, CrushGetReply.Parser);

    /// <summary>Replaces the CRUSH map.</summary>
    public static Method<CrushSetRequest, ChangeReply> CrushSet { get; } = Unary("CrushSet", CrushSetRequest.Parser, ChangeReply.Parser);

    /// <summary>Settings kept in the map.</summary>
    public static Method<ConfigGetRequest, ConfigGetReply> ConfigGet { get; } = Unary("ConfigGet", ConfigGetRequest.Parser, ConfigGetReply.Parser);

    /// <summary>Sets or removes a setting.</summary>
    public static Method<ConfigSetRequest, ChangeReply> ConfigSet { get; } = Unary("ConfigSet", ConfigSetRequest.Parser, ChangeReply.Parser);

    /// <summary>Fences a client session off.</summary>
    public static Method<BlocklistAddRequest, ChangeReply> BlocklistAdd { get; } = Unary("BlocklistAdd", BlocklistAddRequest.Parser, ChangeReply.Parser);

    /// <summary>Lifts the fence of a client session.</summary>
    public static Method<BlocklistRemoveRequest, ChangeReply> BlocklistRemove { get; } = Unary("BlocklistRemove", BlocklistRemoveRequest.Parser, ChangeReply.Parser);

    /// <summary>The fenced client sessions.</summary>
    public static Method<BlocklistListRequest, BlocklistListReply> BlocklistList { get; } = Unary("BlocklistList", BlocklistListRequest.Parser, BlocklistListReply.Parser);

    /// <summary>Events of the cluster as they happen.</summary>
    public static Method<WatchRequest, Event> Watch { get; } = new(
        MethodType.ServerStreaming, Service, "Watch", RpcMarshaller.Protobuf(WatchRequest.Parser), RpcMarshaller.Protobuf(Event.Parser));

    /// <summary>Any unary method by name with messages as raw bytes, to forward them.</summary>
    /// <param name="name">The method's name, as in "Status".</param>
    public static Method<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>> Raw(string name) =>
        new(MethodType.Unary, Service, name, RpcMarshaller.Raw, RpcMarshaller.Raw);

    private static Method<TRequest, TResponse> Unary<TRequest, TResponse>(
        string name, Google.Protobuf.MessageParser<TRequest> request, Google.Protobuf.MessageParser<TResponse> response)
        where TRequest : Google.Protobuf.IMessage<TRequest>
        where TResponse : Google.Protobuf.IMessage<TResponse> =>
        new(MethodType.Unary, Service, name, RpcMarshaller.Protobuf(request), RpcMarshaller.Protobuf(response));
}
