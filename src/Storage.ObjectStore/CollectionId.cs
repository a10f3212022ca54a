using Storage.Cluster;

namespace Storage.ObjectStore;

/// <summary>A set of objects that commits in order: one per placement group, and one for the OSD itself.</summary>
/// <param name="Group">The placement group.</param>
public readonly record struct CollectionId(PgId Group) : IComparable<CollectionId>
{
    /// <summary>The OSD's own collection (map cache, superblock).</summary>
    public static CollectionId Meta => new(new PgId(-1, 0));

    /// <inheritdoc/>
    public int CompareTo(CollectionId other) => Group.CompareTo(other.Group);

    /// <inheritdoc/>
    public override string ToString() => Group.Pool < 0 ? "meta" : Group.ToString();
}
