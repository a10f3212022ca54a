using System.Globalization;

namespace Storage.Cluster;

/// <summary>Version of the cluster map; grows by one with every change. 0 is before the first map.</summary>
/// <param name="Value">The number.</param>
public readonly record struct Epoch(uint Value) : IComparable<Epoch>
{
    /// <summary>Before any map.</summary>
    public static Epoch None => default;

    /// <summary>The epoch after this one.</summary>
    public Epoch Next => new(Value + 1);

    /// <inheritdoc/>
    public int CompareTo(Epoch other) => Value.CompareTo(other.Value);

    /// <inheritdoc/>
    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);

    /// <summary>Order by number.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>Whether it is earlier.</returns>
    public static bool operator <(Epoch left, Epoch right) => left.Value < right.Value;

    /// <summary>Order by number.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>Whether it is later.</returns>
    public static bool operator >(Epoch left, Epoch right) => left.Value > right.Value;

    /// <summary>Order by number.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>Whether it is not later.</returns>
    public static bool operator <=(Epoch left, Epoch right) => left.Value <= right.Value;

    /// <summary>Order by number.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>Whether it is not earlier.</returns>
    public static bool operator >=(Epoch left, Epoch right) => left.Value >= right.Value;
}

/// <summary>Number of an object storage daemon, 0 and up; -1 stands for none.</summary>
/// <param name="Value">The number.</param>
public readonly record struct OsdId(int Value) : IComparable<OsdId>
{
    /// <summary>No OSD: a hole in an acting set, or a PG without a primary.</summary>
    public static OsdId None => new(-1);

    /// <summary>True unless this is <see cref="None"/>.</summary>
    public bool IsSome => Value >= 0;

    /// <inheritdoc/>
    public int CompareTo(OsdId other) => Value.CompareTo(other.Value);

    /// <inheritdoc/>
    public override string ToString() => Value < 0 ? "none" : string.Create(CultureInfo.InvariantCulture, $"osd.{Value}");
}

/// <summary>A placement group: a slice of a pool's hash space.</summary>
/// <param name="Pool">The pool's id, 1 and up.</param>
/// <param name="Seed">Number within the pool, below its pg_num.</param>
public readonly record struct PgId(long Pool, uint Seed) : IComparable<PgId>
{
    /// <inheritdoc/>
    public int CompareTo(PgId other) => Pool != other.Pool ? Pool.CompareTo(other.Pool) : Seed.CompareTo(other.Seed);

    /// <summary>As operators write it: pool, dot, seed in hexadecimal.</summary>
    /// <returns>For example <c>1.2a</c>.</returns>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Pool}.{Seed:x}");

    /// <summary>Reads the form that <see cref="ToString"/> writes.</summary>
    /// <param name="text">For example <c>1.2a</c>.</param>
    /// <param name="id">The id.</param>
    /// <returns>Whether the text has that form.</returns>
    public static bool TryParse(string text, out PgId id)
    {
        int dot = text.IndexOf('.', StringComparison.Ordinal);
        if (dot > 0
            && long.TryParse(text.AsSpan(0, dot), NumberStyles.None, CultureInfo.InvariantCulture, out long pool)
            && uint.TryParse(text.AsSpan(dot + 1), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint seed))
        {
            id = new PgId(pool, seed);
            return true;
        }

        id = default;
        return false;
    }
}

/// <summary>Version of an object and position in a PG log: ordered by epoch, then number; numbers grow by one per entry.</summary>
/// <param name="Epoch">Epoch of the interval in which the primary made the entry.</param>
/// <param name="Number">Count of entries in the PG's history, 1 and up; 0 is before the first.</param>
public readonly record struct PgVersion(Epoch Epoch, ulong Number) : IComparable<PgVersion>
{
    /// <summary>Before the first entry.</summary>
    public static PgVersion Zero => default;

    /// <inheritdoc/>
    public int CompareTo(PgVersion other) => Epoch != other.Epoch ? Epoch.CompareTo(other.Epoch) : Number.CompareTo(other.Number);

    /// <summary>As Ceph writes it: epoch, apostrophe, number.</summary>
    /// <returns>For example <c>12'345</c>.</returns>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Epoch.Value}'{Number}");

    /// <summary>Order by epoch, then number.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>Whether it is earlier.</returns>
    public static bool operator <(PgVersion left, PgVersion right) => left.CompareTo(right) < 0;

    /// <summary>Order by epoch, then number.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>Whether it is later.</returns>
    public static bool operator >(PgVersion left, PgVersion right) => left.CompareTo(right) > 0;

    /// <summary>Order by epoch, then number.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>Whether it is not later.</returns>
    public static bool operator <=(PgVersion left, PgVersion right) => left.CompareTo(right) <= 0;

    /// <summary>Order by epoch, then number.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>Whether it is not earlier.</returns>
    public static bool operator >=(PgVersion left, PgVersion right) => left.CompareTo(right) >= 0;
}

/// <summary>Where a daemon listens.</summary>
/// <param name="Host">IP address, or a node's name in the simulator.</param>
/// <param name="Port">TCP port.</param>
public readonly record struct NodeAddress(string Host, int Port)
{
    /// <summary>True for the default value: no address.</summary>
    public bool IsNone => string.IsNullOrEmpty(Host);

    /// <inheritdoc/>
    public override string ToString() => IsNone ? "-" : Host.Contains(':', StringComparison.Ordinal)
        ? string.Create(CultureInfo.InvariantCulture, $"[{Host}]:{Port}")
        : string.Create(CultureInfo.InvariantCulture, $"{Host}:{Port}");

    /// <summary>Reads HOST:PORT, with brackets around an IPv6 address.</summary>
    /// <param name="text">The text.</param>
    /// <param name="address">The address.</param>
    /// <returns>Whether the text has that form.</returns>
    public static bool TryParse(string text, out NodeAddress address)
    {
        int colon = text.LastIndexOf(':');
        if (colon > 0 && int.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int port) && port is > 0 and < 65536)
        {
            address = new NodeAddress(text[..colon].Trim('[', ']'), port);
            return true;
        }

        address = default;
        return false;
    }
}
