namespace Storage.Cluster;
