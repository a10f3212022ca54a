namespace Storage.Crush;

/// <summary>A CRUSH map: devices, buckets, rules and tunables. Filled in by the CRUSH work.</summary>
public sealed class CrushMap
{
}
