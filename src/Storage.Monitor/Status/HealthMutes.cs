using System.Globalization;
using Storage.Cluster;

namespace Storage.Monitor.Status;

/// <summary>Health checks that an operator has muted. They stand among the map's settings, section <c>mute</c>, so that they outlive
/// leaders: the value is when it ends, in milliseconds since 1970 UTC, 0 for never.</summary>
public static class HealthMutes
{
    private const string Section = "mute/";

    /// <summary>The setting that mutes a check.</summary>
    /// <param name="code">The check's code.</param>
    /// <returns>The setting's name.</returns>
    public static string KeyOf(string code) => Section + code;

    /// <summary>Whether a check is muted. One whose time is over is unmuted by the leader.</summary>
    /// <param name="map">The newest map.</param>
    /// <param name="code">The check's code.</param>
    /// <returns>True if so.</returns>
    public static bool IsMuted(ClusterMap map, string code) => map.Configuration.ContainsKey(KeyOf(code));

    /// <summary>Mutes whose time is over.</summary>
    /// <param name="map">The newest map.</param>
    /// <param name="unixMilliseconds">Now.</param>
    /// <returns>Their settings and values.</returns>
    public static IEnumerable<(string Key, string Value)> Expired(ClusterMap map, long unixMilliseconds)
    {
        foreach ((string key, string value) in map.Configuration)
        {
            if (key.StartsWith(Section, StringComparison.Ordinal)
                && (!long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out long until) || (until != 0 && until <= unixMilliseconds)))
            {
                yield return (key, value);
            }
        }
    }
}
