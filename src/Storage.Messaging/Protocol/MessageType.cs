namespace Storage.Messaging;

/// <summary>What a message is. The numbers are on the wire: never reuse one.</summary>
public enum MessageType : ushort
{
    /// <summary>Node → monitor: <see cref="MapSubscribe"/>.</summary>
    MapSubscribe = 0x100,

    /// <summary>Monitor or OSD → any: <see cref="MapUpdate"/>.</summary>
    MapUpdate = 0x101,

    /// <summary>Node → monitor: are you there, and in touch with a leader? Body: version u8. One that does not answer is left for the next.</summary>
    MonitorPing = 0x102,

    /// <summary>The answer; body: version u8.</summary>
    MonitorPong = 0x103,

    /// <summary>Client → monitor: what is the newest epoch that was committed before now? Body: version u8, a number to be sent back u64. Answered
    /// once the leader has made sure that it leads; not at all while there is none.</summary>
    NewestEpoch = 0x104,

    /// <summary>The answer; body: version u8, the number u64, epoch u32. Maps up to there come by subscription.</summary>
    NewestEpochReply = 0x105,

    /// <summary>OSD → monitor: <see cref="OsdBoot"/>.</summary>
    OsdBoot = 0x110,

    /// <summary>OSD → monitor: <see cref="OsdFailure"/>.</summary>
    OsdFailure = 0x111,

    /// <summary>OSD → monitor: <see cref="OsdAlive"/>.</summary>
    OsdAlive = 0x112,

    /// <summary>OSD → monitor: <see cref="PgTempRequest"/>.</summary>
    PgTempRequest = 0x113,

    /// <summary>OSD → monitor: <see cref="OsdStatistics"/>, which is its sign of life too.</summary>
    OsdStatistics = 0x114,

    /// <summary>OSD → monitor: it stops now and may be marked down at once; body: OSD id (i32), epoch (u32).</summary>
    OsdStopping = 0x115,

    /// <summary>Monitor ↔ monitor: Raft.</summary>
    Raft = 0x180,

    /// <summary>Monitor → leading monitor: a message passed on from an OSD or client.</summary>
    MonitorForward = 0x181,

    /// <summary>Monitor → leading monitor: an admin request passed on.</summary>
    AdminRequest = 0x182,

    /// <summary>Leading monitor → monitor: its answer.</summary>
    AdminReply = 0x183,

    /// <summary>Leading monitor → monitor: what is your wall clock? Version u8, a number to be sent back i64.</summary>
    MonitorClock = 0x184,

    /// <summary>The answer: version u8, the number i64, milliseconds since 1970 UTC i64.</summary>
    MonitorClockReply = 0x185,

    /// <summary>Monitor → monitor: the cluster has removed you, and Raft has gone on without you; body: version u8.</summary>
    MonitorRemoved = 0x186,

    /// <summary>Client → OSD: <see cref="OperationRequest"/>.</summary>
    Operation = 0x200,

    /// <summary>OSD → client: <see cref="OperationReply"/>.</summary>
    OperationReply = 0x201,

    /// <summary>OSD → client: slow down until the next <see cref="OperationReply"/>; reserved.</summary>
    OperationBackoff = 0x202,

    /// <summary>OSD ↔ OSD: first number of those that Storage.Osd defines, up to 0x3FF.</summary>
    OsdPeerFirst = 0x300,

    /// <summary>Monitor → OSD: an operator's order; body: version u8, request id u64, pool i64, seed u32, <see cref="PgCommand"/> u8, argument i32.</summary>
    PgCommand = 0x39A,

    /// <summary>Answer; body: version u8, request id u64, done (bool), text.</summary>
    PgCommandReply = 0x39B,

    /// <summary>Monitor → OSD: explain a PG; body: version u8, request id u64, pool i64, seed u32.</summary>
    PgQuery = 0x3F0,

    /// <summary>Answer; body: version u8, request id u64, found (bool), JSON text.</summary>
    PgQueryReply = 0x3F1,

    /// <summary>OSD ↔ OSD: last number of those that Storage.Osd defines.</summary>
    OsdPeerLast = 0x3FF,
}
