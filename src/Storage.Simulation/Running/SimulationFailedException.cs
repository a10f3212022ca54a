namespace Storage.Simulation.Running;

/// <summary>A run found what must not be.</summary>
public sealed class SimulationFailedException : Exception
{
    /// <summary>Creates the exception.</summary>
    public SimulationFailedException() : this("the run failed")
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was found.</param>
    public SimulationFailedException(string message) : base(message)
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was found.</param>
    /// <param name="inner">The cause.</param>
    public SimulationFailedException(string message, Exception inner) : base(message, inner)
    {
    }
}
