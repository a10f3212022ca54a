namespace Storage.Osd;

/// <summary>Who shares an OSD. The order is that of <see cref="WorkProfile"/>'s shares.</summary>
internal enum WorkClass : byte
{
    /// <summary>Operations of clients, their replicas' part, and what a client waits for. Never queued, only accounted.</summary>
    Client,

    /// <summary>Copying of objects that a member lacks by the log: redundancy that is missing now.</summary>
    Recovery,

    /// <summary>Filling of whole copies.</summary>
    Backfill,

    /// <summary>Comparison of copies.</summary>
    Scrub,

    /// <summary>Removal of what snapshots and deleted pools leave behind.</summary>
    Trim,
}
