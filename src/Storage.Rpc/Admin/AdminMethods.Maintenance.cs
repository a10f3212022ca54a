namespace Storage.Rpc.Admin;

// Maintenance.
public static partial class AdminMethods
{
    /// <summary>Whether OSDs may be stopped without stopping I/O.</summary>
    public static Method<OsdIdsRequest, OsdSafetyReply> OsdOkToStop { get; } = Unary("OsdOkToStop", OsdIdsRequest.Parser, OsdSafetyReply.Parser);

    /// <summary>Whether no PG needs anything that OSDs hold.</summary>
    public static Method<OsdIdsRequest, OsdSafetyReply> OsdSafeToDestroy { get; } = Unary("OsdSafeToDestroy", OsdIdsRequest.Parser, OsdSafetyReply.Parser);

    /// <summary>Removes an OSD that is down from the map for good.</summary>
    public static Method<OsdPurgeRequest, ChangeReply> OsdPurge { get; } = Unary("OsdPurge", OsdPurgeRequest.Parser, ChangeReply.Parser);

    /// <summary>One edit of the CRUSH hierarchy or its rules.</summary>
    public static Method<CrushEditRequest, ChangeReply> CrushEdit { get; } = Unary("CrushEdit", CrushEditRequest.Parser, ChangeReply.Parser);

    /// <summary>The CRUSH rules and the pools that use them.</summary>
    public static Method<CrushRuleListRequest, CrushRuleListReply> CrushRuleList { get; } = Unary("CrushRuleList", CrushRuleListRequest.Parser, CrushRuleListReply.Parser);

    /// <summary>Takes a health check out of the cluster's status.</summary>
    public static Method<HealthMuteRequest, ChangeReply> HealthMute { get; } = Unary("HealthMute", HealthMuteRequest.Parser, ChangeReply.Parser);

    /// <summary>Ends a mute.</summary>
    public static Method<HealthUnmuteRequest, ChangeReply> HealthUnmute { get; } = Unary("HealthUnmute", HealthUnmuteRequest.Parser, ChangeReply.Parser);

    /// <summary>Plans, or makes, the moves that even out PGs over OSDs.</summary>
    public static Method<BalanceRequest, BalanceReply> Balance { get; } = Unary("Balance", BalanceRequest.Parser, BalanceReply.Parser);

    /// <summary>How many PGs pools have and should have.</summary>
    public static Method<PoolAutoscaleStatusRequest, PoolAutoscaleStatusReply> PoolAutoscaleStatus { get; } =
        Unary("PoolAutoscaleStatus", PoolAutoscaleStatusRequest.Parser, PoolAutoscaleStatusReply.Parser);

    /// <summary>Adds a monitor to the cluster.</summary>
    public static Method<MonAddRequest, MonAddReply> MonAdd { get; } = Unary("MonAdd", MonAddRequest.Parser, MonAddReply.Parser);

    /// <summary>Removes a monitor from the cluster.</summary>
    public static Method<MonRemoveRequest, ChangeReply> MonRemove { get; } = Unary("MonRemove", MonRemoveRequest.Parser, ChangeReply.Parser);
}
