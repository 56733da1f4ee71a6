"""The one door to a running cluster: requests and answers on its supervisor's socket (architecture rule 7)."""
