namespace Storage.Simulation;
