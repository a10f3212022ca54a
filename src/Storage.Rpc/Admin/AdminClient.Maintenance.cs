namespace Storage.Rpc.Admin;

// Maintenance.
public sealed partial class AdminClient
{
    /// <summary>Whether OSDs may be stopped without stopping I/O.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<OsdSafetyReply> OsdOkToStopAsync(OsdIdsRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.OsdOkToStop, request, Named, cancellation);

    /// <summary>Whether no PG needs anything that OSDs hold.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<OsdSafetyReply> OsdSafeToDestroyAsync(OsdIdsRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.OsdSafeToDestroy, request, Named, cancellation);

    /// <summary>Removes an OSD that is down from the map for good.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> OsdPurgeAsync(OsdPurgeRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.OsdPurge, request, Named, cancellation);

    /// <summary>One edit of the CRUSH hierarchy or its rules.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> CrushEditAsync(CrushEditRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.CrushEdit, request, Named, cancellation);

    /// <summary>The CRUSH rules and the pools that use them.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<CrushRuleListReply> CrushRuleListAsync(CrushRuleListRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.CrushRuleList, request, Named, cancellation);

    /// <summary>Takes a health check out of the cluster's status.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> HealthMuteAsync(HealthMuteRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.HealthMute, request, Named, cancellation);

    /// <summary>Ends a mute.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> HealthUnmuteAsync(HealthUnmuteRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.HealthUnmute, request, Named, cancellation);

    /// <summary>Plans, or makes, the moves that even out PGs over OSDs.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<BalanceReply> BalanceAsync(BalanceRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.Balance, request, Named, cancellation);

    /// <summary>How many PGs pools have and should have.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<PoolAutoscaleStatusReply> PoolAutoscaleStatusAsync(PoolAutoscaleStatusRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.PoolAutoscaleStatus, request, Named, cancellation);

    /// <summary>Adds a monitor to the cluster.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<MonAddReply> MonAddAsync(MonAddRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.MonAdd, request, Named, cancellation);

    /// <summary>Removes a monitor from the cluster.</summary>
    /// <param name="request">See admin.proto.</param>
    /// <param name="cancellation">Gives the call up.</param>
    public Task<ChangeReply> MonRemoveAsync(MonRemoveRequest request, CancellationToken cancellation = default) =>
        channel.UnaryAsync(AdminMethods.MonRemove, request, Named, cancellation);
}
