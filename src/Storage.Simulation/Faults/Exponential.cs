namespace Storage.Simulation.Faults;

/// <summary>Times between events that do not know of each other.</summary>
internal static class Exponential
{
    /// <summary>Draws once.</summary>
    /// <param name="random">What to draw from.</param>
    /// <param name="mean">The mean of many draws, in any unit.</param>
    /// <returns>0 and up, in the unit of the mean.</returns>
    public static double Draw(Random random, double mean) => -Math.Log(1 - random.NextDouble()) * mean;
}
