using Storage.Coding;

namespace Storage.Osd;

/// <summary>What a class gets of an OSD.</summary>
/// <param name="Reservation">Share of the capacity that it gets in any case, 0 to 1.</param>
/// <param name="Weight">How what is left is divided among those who want it; above 0.</param>
/// <param name="Limit">Share of the capacity beyond which it gets nothing while clients are active; at least the reservation.</param>
internal readonly record struct WorkShare(double Reservation, double Weight, double Limit);

/// <summary>How an OSD is shared while clients use it. Without clients background work takes what there is, by weight.</summary>
internal sealed class WorkProfile
{
    /// <summary>The setting that names the profile in effect.</summary>
    public const string Setting = "osd_mclock_profile";

    /// <summary>Clients feel background work little: about a third more latency at the mean.</summary>
    public static readonly WorkProfile Client = new(
        "client",
        1.3,
        1 << 20,
        new WorkShare(0.5, 60, 1),
        new WorkShare(0.05, 5, 0.6),
        new WorkShare(0.02, 2, 0.5),
        new WorkShare(0.01, 1, 0.3),
        new WorkShare(0.01, 1, 0.3));

    /// <summary>The default: clients' p99 stays within about twice its value on an idle cluster.</summary>
    public static readonly WorkProfile Balanced = new(
        "balanced",
        1.6,
        2 << 20,
        new WorkShare(0.4, 30, 1),
        new WorkShare(0.1, 5, 0.8),
        new WorkShare(0.05, 3, 0.7),
        new WorkShare(0.02, 1, 0.4),
        new WorkShare(0.02, 1, 0.4));

    /// <summary>Redundancy first: clients wait for it.</summary>
    public static readonly WorkProfile Recovery = new(
        "recovery",
        4,
        8 << 20,
        new WorkShare(0.2, 10, 1),
        new WorkShare(0.4, 10, 1),
        new WorkShare(0.2, 8, 1),
        new WorkShare(0.01, 1, 0.3),
        new WorkShare(0.01, 1, 0.3));

    private readonly WorkShare[] _shares;

    /// <summary>Creates a profile.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="latencyFactor">Mean latency of clients, as a multiple of that without background work, to which capacity is found.</param>
    /// <param name="busyWindow">Cost of background work under way at once while clients are active: what one operation may find before it.</param>
    /// <param name="shares">One per <see cref="WorkClass"/>, in its order.</param>
    public WorkProfile(string name, double latencyFactor, int busyWindow, params WorkShare[] shares)
    {
        Invariant.Holds(shares.Length == Enum.GetValues<WorkClass>().Length);
        double reserved = 0;
        foreach (WorkShare share in shares)
        {
            Invariant.Holds(share.Weight > 0 && share.Reservation >= 0 && share.Reservation <= share.Limit);
            reserved += share.Reservation;
        }

        Invariant.Holds(reserved <= 1 && latencyFactor > 1 && busyWindow > 0);
        Name = name;
        LatencyFactor = latencyFactor;
        BusyWindow = busyWindow;
        _shares = shares;
    }

    /// <summary>Its name.</summary>
    public string Name { get; }

    /// <summary>See the constructor.</summary>
    public double LatencyFactor { get; }

    /// <summary>See the constructor.</summary>
    public int BusyWindow { get; }

    /// <summary>A class's share.</summary>
    public ref readonly WorkShare this[WorkClass workClass] => ref _shares[(int)workClass];

    /// <summary>Finds a profile by its name; one that is not known is the default.</summary>
    public static WorkProfile Find(string? name) => name switch
    {
        "client" => Client,
        "recovery" => Recovery,
        _ => Balanced,
    };
}
