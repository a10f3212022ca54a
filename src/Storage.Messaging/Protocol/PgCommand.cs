namespace Storage.Messaging;

/// <summary>What an operator orders of a PG's primary, or of an OSD, through a monitor. The numbers are on the wire: never reuse one.</summary>
public enum PgCommand : byte
{
    /// <summary>Compare the copies' metadata.</summary>
    Scrub = 1,

    /// <summary>Compare the copies' data too.</summary>
    DeepScrub = 2,

    /// <summary>Compare all, and replace copies that are bad. The argument is the OSD to be trusted where nothing is certain, -1 for none.</summary>
    Repair = 3,

    /// <summary>Tell what scrubs found.</summary>
    ListInconsistent = 4,

    /// <summary>Go back to older versions of the objects that are not found.</summary>
    RevertUnfound = 5,

    /// <summary>Give up the objects that are not found.</summary>
    DeleteUnfound = 6,

    /// <summary>Count the OSD's read errors and repairs from now on.</summary>
    ClearErrors = 16,
}
