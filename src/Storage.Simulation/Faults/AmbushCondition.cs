namespace Storage.Simulation.Faults;

/// <summary>What an ambush waits for.</summary>
internal enum AmbushCondition
{
    // Disks and logs.

    /// <summary>A primary's disk has an entry that no other member's disk has.</summary>
    OwnDiskOnly,

    /// <summary>A primary's disk has an entry of which no other member has heard.</summary>
    NobodyHeard,

    /// <summary>A replica's disk has an entry that the primary's lacks.</summary>
    ReplicaDiskFirst,

    /// <summary>A copy that comes back has more in its log than the present primary.</summary>
    DivergentCopy,

    // Where a PG stands.

    /// <summary>A primary asks who has what.</summary>
    Asking,

    /// <summary>A primary fetches a log.</summary>
    FetchingLog,

    /// <summary>A primary waits for the acting set that it asked for.</summary>
    WaitingForActing,

    /// <summary>A primary waits for its up_thru, or for an older lease to end.</summary>
    WaitingToActivate,

    /// <summary>Members write down the start of an interval.</summary>
    Activating,

    /// <summary>A PG has just gone active.</summary>
    JustActive,

    /// <summary>A primary has just got its first lease of an interval.</summary>
    LeaseMoved,

    /// <summary>The map has just taken away another acting set than the placement's.</summary>
    TemporaryGone,

    /// <summary>One member knows of an interval, and another does not.</summary>
    IntervalHalfKnown,

    /// <summary>An OSD has just learned that it is up again.</summary>
    JustUp,

    /// <summary>An OSD has just learned that it was marked down.</summary>
    MarkedDown,

    /// <summary>A PG has just been split.</summary>
    JustSplit,

    /// <summary>A PG is in the middle of something (<see cref="Osd.GroupActivity"/>), which the fourth number chooses.</summary>
    UnderWay,

    // Anything.

    /// <summary>An OSD takes a rare turn (<see cref="Osd.RarePath"/>), which the fourth number chooses.</summary>
    RareTurn,

    /// <summary>A daemon sends a message of a kind, which the fourth number chooses.</summary>
    Sent,

    /// <summary>A daemon has dealt with a message of a kind, which the fourth number chooses.</summary>
    Received,

    // Monitors.

    /// <summary>A monitor was elected and has committed nothing of its own term.</summary>
    NewLeader,

    /// <summary>A leader has entries that are not committed.</summary>
    LeaderAhead,

    /// <summary>A leader has just committed what no other monitor knows to be committed.</summary>
    CommittedUnknown,

    /// <summary>A monitor stands for election.</summary>
    Candidate,

    /// <summary>A change of the monitors' members is not committed.</summary>
    MembersChanging,
}

/// <summary>What an ambush does.</summary>
internal enum AmbushStrike
{
    /// <summary>The one who met the condition dies.</summary>
    Crash,

    /// <summary>Who deals with it dies.</summary>
    CrashOther,

    /// <summary>Both die.</summary>
    CrashBoth,

    /// <summary>All other members of the PG die.</summary>
    CrashMembers,

    /// <summary>It dies at one of its next effects.</summary>
    DieAtEffect,

    /// <summary>The other dies at one of its next effects.</summary>
    OtherDiesAtEffect,

    /// <summary>It loses power for long, and all clients are silent until it is back.</summary>
    Abandon,

    /// <summary>Nothing that it sends reaches a daemon any more; as soon as its disk has what nobody else has, <see cref="Abandon"/>.</summary>
    LeaveAlone,

    /// <summary>All OSDs lose power, and the clients with them.</summary>
    PowerLoss,

    /// <summary>It stands still.</summary>
    Pause,

    /// <summary>The other stands still.</summary>
    PauseOther,

    /// <summary>It and all other daemons are cut off from each other.</summary>
    CutOff,

    /// <summary>What it sends to the other does not arrive.</summary>
    CutToOther,

    /// <summary>What the other sends to it does not arrive.</summary>
    CutFromOther,

    /// <summary>All that it sends to daemons takes longer.</summary>
    SlowSender,

    /// <summary>All that daemons send to it takes longer.</summary>
    SlowReceiver,

    /// <summary>The connections between both break, up to four times within moments.</summary>
    BreakConnections,

    /// <summary>It is marked down.</summary>
    MarkDown,

    /// <summary>The other is marked down.</summary>
    MarkOtherDown,

    /// <summary>It is marked down again and again while what it and the monitors tell each other is late.</summary>
    Flap,

    /// <summary>What it tells clients is late, and the other is marked down meanwhile, so that clients ask again.</summary>
    SlowAnswers,

    /// <summary>Its disk is replaced.</summary>
    ReplaceDisk,

    /// <summary>The other's disk is replaced.</summary>
    ReplaceOthersDisk,

    /// <summary>Its disk is slow.</summary>
    SlowDisk,

    /// <summary>The other's disk is slow.</summary>
    SlowOthersDisk,

    /// <summary>A block of its disk goes bad.</summary>
    Damage,

    /// <summary>It is taken out.</summary>
    TakeOut,

    /// <summary>The other is taken out.</summary>
    TakeOtherOut,

    /// <summary>Both are taken out.</summary>
    TakeBothOut,

    /// <summary>A client dies.</summary>
    CrashClient,

    /// <summary>All clients stand still.</summary>
    Silence,

    /// <summary>PGs are split.</summary>
    Split,

    /// <summary>The leading monitor dies.</summary>
    CrashLeader,
}
